"""Pages and pictures: HTML files that are whole, need no network and run nothing but their own script; PNG and SVG."""
