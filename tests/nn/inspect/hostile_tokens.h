// Tokens for injection tests: markup, scripts, ends of elements and comments, terminal escape
// sequences, template placeholders, text direction controls, and invalid UTF-8.
#pragma once

#include <string>
#include <vector>

namespace fovea::test {

// A script that runs sets window.ran, or changes the page's title.
inline const std::vector<std::string> hostile_tokens = {
    "</script><script>window.ran=1</script>",
    "<script>window.ran=1</script>",
    "<SCRIPT SRC=//example.org/x.js></SCRIPT>",
    "</ScRiPt ><img src=x onerror=window.ran=1>",
    "<img src=x onerror=\"window.ran=1\">",
    "<svg onload=window.ran=1>",
    "<svg/><script>window.ran=1</script>",
    "<iframe srcdoc=\"<script>parent.ran=1</script>\">",
    "<body onload=window.ran=1>",
    "<a href=\"javascript:window.ran=1\">x</a>",
    "<math><mtext></mtext><style><img src=x onerror=window.ran=1>",
    "<base href=//example.org/>",
    "<form action=//example.org/><button>x",
    "<meta http-equiv=refresh content=\"0;url=//example.org\">",
    "<link rel=stylesheet href=//example.org/x.css>",
    "<style>*{background:url(//example.org/x)}</style>",
    "</style><b>",
    "</title><b>",
    "</text><script>window.ran=1</script>",
    "<!-- <script>",
    "-->",
    "<![CDATA[ ]]>",
    "]]>",
    "&lt;b&gt;&#60;b&#62;",
    "&quot;&apos;",
    "\" onmouseover=\"window.ran=1",
    "' onmouseover='window.ran=1",
    "`${window.ran=1}`",
    "';window.ran=1;//",
    "\\u003c/script\\u003e",
    "\\\"",
    "{{data}}",
    "{{title}}",
    "{{script}}",
    "\u2028window.ran=1\u2029",
    "\u202eright to left\u202c",
    "\u200b\ufeff",
    "\x1b[31m\x1b[2J\x1b]0;title\x07",
    "\u009b31m",
    "\r\n\t\v\f\b",
    std::string("\0", 1),
    "\x7f",
    "\xff\xc3\x28",
    "\xed\xa0\x80",
    "\ufffe\uffff",
    "__proto__",
    "constructor",
    "javascript:window.ran=1",
    "",
    " ",
};

}  // namespace fovea::test
