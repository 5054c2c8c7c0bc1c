"""Pages and pictures: self-contained HTML files without network access or foreign scripts; PNG and SVG."""
