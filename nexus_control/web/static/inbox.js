// Remembers the reader's token and id in this browser, and shows changes on open pages. Pages work without it.
"use strict";
