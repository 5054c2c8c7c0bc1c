"""Batch planning from lengths alone, before any audio is read.

`Lengths` -> `select` -> `bin_utterances` (or `pack_utterances`, `join_utterances`) -> `Batches`, which a data loader
takes. numpy only.
Ways and figures: "Training and Inference Efficiency of Encoder-Decoder Speech Models" (arXiv 2503.05931).
"""

from linnet.data.batching.bench import BatchingReport, Waste, bench, bench_manifest
from linnet.data.batching.binning import Binning, bin_utterances
from linnet.data.batching.bins import Bins, fit_bins
from linnet.data.batching.cost import Cost, Peak, Shape, fit_cost, fit_peak
from linnet.data.batching.joining import JoinedWindow, JoinPlan, join_utterances
from linnet.data.batching.lengths import (
    Lengths,
    join_lengths,
    load_lengths,
    measure_lengths,
)
from linnet.data.batching.mixing import Mixture, mix, passes_by_temperature
from linnet.data.batching.packing import Packing, pack_utterances
from linnet.data.batching.plan import Plan
from linnet.data.batching.sampler import Batches
from linnet.data.batching.selection import Selection, select

__all__ = [
    "Batches",
    "BatchingReport",
    "Binning",
    "Bins",
    "Cost",
    "JoinPlan",
    "JoinedWindow",
    "Lengths",
    "Mixture",
    "Packing",
    "Peak",
    "Plan",
    "Selection",
    "Shape",
    "Waste",
    "bench",
    "bench_manifest",
    "bin_utterances",
    "fit_bins",
    "fit_cost",
    "fit_peak",
    "join_lengths",
    "join_utterances",
    "load_lengths",
    "measure_lengths",
    "mix",
    "pack_utterances",
    "passes_by_temperature",
    "select",
]
