"""English names of the languages in the published lists, from Unicode's CLDR."""

from __future__ import annotations

from linnet.text.language_codes import base_language

_NAMES = """
aa Afar; ab Abkhazian; ace Acehnese; acm Mesopotamian Arabic; acq Ta'izzi-Adeni Arabic; ae Avestan;
aeb Tunisian Arabic; af Afrikaans; ajp South Levantine Arabic; ak Akan; am Amharic; an Aragonese;
apc North Levantine Arabic; ar Arabic; ars Najdi Arabic; ary Moroccan Arabic; arz Egyptian Arabic; as Assamese;
ast Asturian; av Avaric; awa Awadhi; ay Aymara; az Azerbaijani; azb South Azerbaijani; ba Bashkir; ban Balinese;
be Belarusian; bem Bemba; ber Berber languages; bg Bulgarian; bho Bhojpuri; bi Bislama; bjn Banjar; bm Bambara;
bn Bengali; bo Tibetan; br Breton; bs Bosnian; bug Buginese; ca Catalan; ce Chechen; ceb Cebuano; ch Chamorro;
cjk Chokwe; ckb Central Kurdish; co Corsican; cr Cree; crh Crimean Tatar; cs Czech; cu Church Slavic; cv Chuvash;
cy Welsh; da Danish; de German; din Dinka; dv Divehi; dyu Dyula; dz Dzongkha; ee Ewe; el Greek; en English;
eo Esperanto; es Spanish; et Estonian; eu Basque; fa Persian; ff Fulah; fi Finnish; fil Filipino; fj Fijian;
fo Faroese; fon Fon; fr French; fur Friulian; fuv Nigerian Fulfulde; fy Western Frisian; ga Irish;
gd Scottish Gaelic; gl Galician; gn Guarani; gu Gujarati; gv Manx; ha Hausa; he Hebrew; hi Hindi; hif Fiji Hindi;
hne Chhattisgarhi; ho Hiri Motu; hr Croatian; ht Haitian Creole; hu Hungarian; hy Armenian; hz Herero;
ia Interlingua; id Indonesian; ie Interlingue; ig Igbo; ii Sichuan Yi; ik Inupiaq; ilo Iloko; io Ido; is Icelandic;
it Italian; iu Inuktitut; ja Japanese; jv Javanese; ka Georgian; kab Kabyle; kac Kachin; kam Kamba; kbp Kabiyè;
kea Kabuverdianu; kg Kongo; ki Kikuyu; kj Kuanyama; kk Kazakh; kl Kalaallisut; km Khmer; kmb Kimbundu; kn Kannada;
ko Korean; kr Kanuri; ks Kashmiri; ku Kurdish; kv Komi; kw Cornish; ky Kyrgyz; la Latin; lad Ladino;
lb Luxembourgish; lg Ganda; li Limburgish; lij Ligurian; lmo Lombard; ln Lingala; lo Lao; lt Lithuanian;
ltg Latgalian; lu Luba-Katanga; lua Luba-Lulua; luo Luo; lus Mizo; lv Latvian; mag Magahi; mai Maithili; mg Malagasy;
mh Marshallese; mi Māori; min Minangkabau; mk Macedonian; ml Malayalam; mn Mongolian; mni Manipuri; mos Mossi;
mr Marathi; ms Malay; mt Maltese; my Burmese; na Nauru; nap Neapolitan; nb Norwegian Bokmål; nd North Ndebele;
ne Nepali; ng Ndonga; nl Dutch; nn Norwegian Nynorsk; no Norwegian; nr South Ndebele; nso Northern Sotho; nus Nuer;
nv Navajo; ny Nyanja; oc Occitan; oj Ojibwa; om Oromo; or Odia; os Ossetic; pa Punjabi; pag Pangasinan;
pap Papiamento; pbt Southern Pashto; pi Pali; pl Polish; ps Pashto; pt Portuguese; qu Quechua; quy Ayacucho Quechua;
rm Romansh; rn Rundi; ro Romanian; ru Russian; rw Kinyarwanda; sa Sanskrit; sat Santali; sc Sardinian; scn Sicilian;
sd Sindhi; se Northern Sami; sg Sango; shn Shan; si Sinhala; sk Slovak; sl Slovenian; sm Samoan; sn Shona; so Somali;
sq Albanian; sr Serbian; ss Swati; st Southern Sotho; su Sundanese; sv Swedish; sw Swahili; szl Silesian; ta Tamil;
taq Tamasheq; te Telugu; tg Tajik; th Thai; ti Tigrinya; tk Turkmen; tn Tswana; to Tongan; tpi Tok Pisin; tr Turkish;
ts Tsonga; tt Tatar; tum Tumbuka; ty Tahitian; tzm Central Atlas Tamazight; ug Uyghur; uk Ukrainian; umb Umbundu;
ur Urdu; uz Uzbek; ve Venda; vec Venetian; vi Vietnamese; vo Volapük; wa Walloon; war Waray; wo Wolof; xh Xhosa;
yi Yiddish; yo Yoruba; yue Cantonese; za Zhuang; zh Chinese; zu Zulu
"""

NAMES: dict[str, str] = {
    code: name for entry in _NAMES.replace("\n", " ").split(";") for code, _, name in [entry.strip().partition(" ")]
}


def language_name(code: str) -> str:
    """The English name of a language; its code if unknown.

    >>> language_name("zh-hant"), language_name("tlh")
    ('Chinese', 'tlh')
    """
    return NAMES.get(base_language(code), code)
