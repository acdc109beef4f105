// Signs with a passkey.
"use strict";
