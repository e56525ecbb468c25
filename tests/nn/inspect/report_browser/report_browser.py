"""report_browser.py FILE.html: uses the sample report in a headless Chromium as a reader would.

Prints what failed and ends with 1; prints "SKIPPED: ..." where there is no browser.
"""

import base64
import json
import pathlib
import sys

import browser

failures = []


def check(condition, what):
    if not condition:
        failures.append(what)
        print(f"FAILED: {what}")


HEAT = "document.getElementById('heat').toDataURL()"
DETAILS = "document.getElementById('details').innerText"


def text(page, selector):
    return page.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")


def colors(page, png):
    """How many colors a picture has, and how bright it is on average (0 .. 255)."""
    return page.evaluate(f"""(async () => {{
        const bytes = Uint8Array.from(atob("{base64.b64encode(png).decode()}"),
                                      (c) => c.charCodeAt(0));
        const bitmap = await createImageBitmap(new Blob([bytes]));
        const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
        const pen = canvas.getContext("2d");
        pen.drawImage(bitmap, 0, 0);
        const pixels = new Uint32Array(
            pen.getImageData(0, 0, bitmap.width, bitmap.height).data.buffer);
        let sum = 0;
        for (const p of pixels) sum += (p & 255) + (p >> 8 & 255) + (p >> 16 & 255);
        return [new Set(pixels).size, sum / pixels.length / 3];
    }})()""")


def loads(page, url):
    page.open(url)
    check(page.requests == [url], f"fetches nothing but itself: {page.requests}")
    check(page.evaluate("document.title") == "Translation, German to English", "has its title")
    check(page.evaluate("document.querySelectorAll('#sentence option').length") == 5,
          "lists five sentences")
    # Every row of every map of the sample sums to 1, to half a 255th of its largest a weight.
    worst = page.evaluate("""(() => {
        let worst = 0;
        for (const sentence of report.sentences)
            for (const map of sentence.maps) {
                const w = weightsOf(sentence, map);
                for (let head = -1; head < w.heads; ++head)
                    for (let t = 0; t < w.T; ++t) {
                        const sum = rowOf(w.matrix(head), w.S, t).reduce((a, b) => a + b, 0);
                        worst = Math.max(worst, Math.abs(sum - 1));
                    }
            }
        return worst;
    })()""")
    check(0 < worst < 0.02, f"reads the weights: rows sum to 1 within {worst}")
    check(page.evaluate("[...document.querySelectorAll('button, select, input')].every((e) => "
                        "e.innerText || e.ariaLabel || e.labels?.length)"), "names every control")


def hovers(page):
    page.click("#kind label:nth-of-type(2)")
    check(text(page, "#query-label").startswith("target"), "cross attention: target queries")
    before, details = page.evaluate(HEAT), page.evaluate(DETAILS)
    page.move_to("#query-tokens .token:nth-child(4)")
    check(page.evaluate(HEAT) != before, "hovering a token changes the heat map")
    after = page.evaluate(DETAILS)
    check(after != details and after.startswith("dog"), f"and the details: {after!r}")
    top = page.evaluate("(() => { const row = rowOf(matrix(), weights.S, 3);"
                        "const i = row.indexOf(Math.max(...row));"
                        "return [i, weights.keys.tokens[i], percent(row[i])]; })()")
    check(text(page, f"#key-tokens .token:nth-child({top[0] + 1}) small") == top[2],
          "the key with the largest weight shows it")
    first = text(page, "#details .bars li").split("\n")
    check(first[0] == top[1] and first[-1] == top[2], f"and is first in the list: {first}")
    page.move_to("#heat", (0.01, 0.01))
    check(text(page, "#cell").startswith("<s> → ein: "), "hovering a cell shows its weight")
    page.move_to("h1")
    check(page.evaluate(DETAILS) == details, "leaving shows all tokens again")
    page.click("#key-tokens .token:nth-child(2)")
    page.move_to("#query-tokens .token:nth-child(1)")
    check(page.evaluate(DETAILS).startswith("kleiner"), "a click pins a token")
    page.press("Escape")
    check(page.evaluate("state.held") is None, "Escape unpins it")


def stands_still(page):
    """Tokens do not move when weights appear below them."""
    places = ("[...document.querySelectorAll('#strips .token')].map((b) => "
              "[b.offsetLeft, b.offsetTop, b.offsetWidth, b.offsetHeight].join())")
    fill = "document.querySelectorAll('#strips small').forEach((s) => s.textContent = {})"
    page.evaluate(fill.format("''"))
    before = page.evaluate(places)
    page.evaluate(fill.format("percent(0.0005)"))  # as wide as they come
    check(len(before) == 17 and page.evaluate(places) == before, "tokens do not move")
    page.evaluate("drawFocus()")


def changes_heads(page):
    page.evaluate("document.activeElement.blur()")
    page.move_to("h1")
    heads = page.evaluate("document.querySelectorAll('#heads input').length")
    check(heads == 5, "offers four heads and their mean")
    seen = set()
    for i in range(heads):
        page.click(f"#heads label:nth-of-type({i + 1})")
        seen.add(page.evaluate(HEAT))
    check(len(seen) == 5, "each head draws another heat map")
    page.evaluate("document.activeElement.blur()")
    page.press("m")
    check(page.evaluate("state.head") == -1, "m: the mean")
    mean = page.evaluate(HEAT)
    page.press("h")
    check(page.evaluate("state.head") == 0 and page.evaluate(HEAT) != mean, "h: the next head")
    check("head 1" in page.evaluate("document.getElementById('status').textContent"),
          "a change of head is announced")
    layer = page.evaluate("state.layer")
    before = page.evaluate(HEAT)
    page.press("l")
    check(page.evaluate("state.layer") != layer and page.evaluate(HEAT) != before, "l: a layer")
    page.evaluate("byId('mechanism').value = 'additive';"
                  "byId('mechanism').dispatchEvent(new Event('change'))")
    check(page.evaluate("[weights.heads, byId('heads').hidden]") == [1, True],
          "another mechanism, of a single head")
    page.press("k")
    check(text(page, "#query-label").startswith("source"), "k: self attention")


def obeys_the_keyboard(page):
    where = "(({side, index}) => [side, index])(document.activeElement.dataset)"
    page.evaluate("document.querySelector('#query-tokens .token').focus()")
    details = page.evaluate(DETAILS)
    page.press("ArrowRight")
    check(page.evaluate(where) == ["query", "1"], "the right arrow moves to the next token")
    check(page.evaluate(DETAILS) != details, "and shows it")
    check(page.evaluate("document.getElementById('status').textContent").startswith("attends to"),
          "and announces its largest weights")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    check(outline == "solid", "the focus is visible")
    page.press("End")
    check(page.evaluate(where) == ["query", "7"], "End moves to the last")
    page.press("ArrowDown")
    check(page.evaluate(where) == ["key", "7"], "the down arrow moves to the keys")
    check("attended by" in page.evaluate(DETAILS), "and shows the queries that attend to the token")
    page.press("Enter")
    check(page.evaluate("state.held?.side") == "key", "Enter pins")
    page.press("Escape")
    page.evaluate("document.getElementById('scroller').focus()")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.press(key)
    check(text(page, "#cell").startswith("kleiner → kleiner: "),
          f"arrows move in the heat map: {text(page, '#cell')!r}")
    page.evaluate("document.getElementById('letters').click()")
    head = page.evaluate("state.head")
    page.press("h")
    check(page.evaluate("state.head") == head, "letters can be switched off")
    page.evaluate("document.getElementById('letters').click()")
    page.press("Escape")
    page.evaluate("document.activeElement.blur()")


def has_a_table(page):
    page.evaluate("document.getElementById('table').open = true")
    page.settle()
    cells = page.evaluate("[...document.querySelectorAll('#table tbody tr')].map((r) => "
                          "r.querySelectorAll('td').length)")
    check(cells == [8] * 8, f"the table has one cell per weight: {cells}")
    check(text(page, "#table tbody td") == page.evaluate("percent(matrix()[0])"), "the weight")
    page.evaluate("document.getElementById('table').open = false")


def is_light_and_dark(page):
    background = "getComputedStyle(document.body).backgroundColor"
    pictures = {}
    for scheme in ("light", "dark"):
        page.color_scheme(scheme)
        pictures[scheme] = (page.evaluate(background), page.evaluate(HEAT), page.screenshot())
        many, bright = colors(page, pictures[scheme][2])
        check(many > 100, f"the {scheme} screenshot is not blank: {many} colors")
        check((bright > 128) == (scheme == "light"), f"brightness of {scheme}: {bright}")
    check(all(a != b for a, b in zip(*pictures.values())), "dark differs: page, heat map, picture")
    page.click("#theme")
    check(page.evaluate(background) == pictures["light"][0], "the button selects the other theme")
    page.press("d")
    check(page.evaluate(background) == pictures["dark"][0], "d selects it too")
    page.color_scheme("light")
    check(page.evaluate(background) == pictures["dark"][0], "the selection persists")
    page.press("d")


def fits_small_screens(page):
    page.viewport(360, 740, 2, mobile=True)
    for i in range(5):
        page.press("s")
        width = page.evaluate("document.documentElement.scrollWidth")
        check(width <= 360, f"sentence {i}: a phone's page does not scroll sideways: {width}")
        if page.evaluate("state.sentence") == 1:
            check(page.evaluate("byId('scroller').scrollWidth > byId('scroller').clientWidth"),
                  "a long heat map does")
    page.viewport(1280, 900)


def shows_texts_as_they_are(page):
    page.evaluate("chooseSentence(2)")
    check(page.evaluate("document.title") == "Translation, German to English",
          "no token was run as a script")
    source = page.evaluate("report.sentences[2].sequences[0].tokens")
    check(source[0] == "</script><script>document.title='broken'</script>", "markup is text")
    check(source[2] == "&quot;" and source[7:9] == [" ", ""] and source[12] == "\ufffd",
          f"tokens are as given: {source}")
    shown = page.evaluate("[...byId('key-tokens').children].map((b) => b.firstChild.textContent)")
    check(shown[:4] == source[:4] and shown[7:10] == ["␣", "∅", "⏎"],
          f"and are shown: {shown}")
    check(page.evaluate("document.querySelector('main b, main script')") is None, "no markup made")


def runs_no_token(page):
    """Shows each hostile token in every place; page.problems then has what the policy refused."""
    page.evaluate("chooseSentence(4)")
    page.evaluate("document.getElementById('table').open = true")
    page.settle()
    count = page.evaluate("report.sentences[4].sequences[0].tokens.length")
    check(count >= 30, f"{count} hostile tokens")
    for i in range(count):
        page.evaluate(f"byId('query-tokens').children[{i}].focus()")
    page.settle()
    page.evaluate("document.getElementById('table').open = false")
    check(page.evaluate("window.ran") is None, "no token was run")
    check(page.evaluate("document.querySelectorAll('script, style').length") == 3, "nor added")
    check(page.evaluate("document.querySelector('img, iframe, base, link, form, main svg')") is None,
          "no token became an element")
    check(len(page.requests) == 1, f"nothing was fetched: {page.requests}")


def shows_evidence(page):
    page.evaluate("chooseSentence(3)")
    page.settle()
    check(page.evaluate("[byId('attention').hidden, byId('evidence').hidden]") == [True, False],
          "a sentence without maps shows its evidence alone")
    ground = page.evaluate("[...byId('evidence-tokens').children].map((w) => "
                           "getComputedStyle(w.firstChild).backgroundColor)")
    check(len({ground[2], ground[3], ground[9]}) == 3, "for, against and neither differ")
    check(text(page, "#prediction") == "positive, 87.2 %", "the prediction")


def main():
    path = browser.find()
    if path is None:
        print("SKIPPED: no Chromium is installed (script/bootstrap --browser installs one)")
        return 0
    try:
        page = browser.Browser(path)
    except (OSError, RuntimeError) as reason:  # Ubuntu's chromium is a door to a snap
        print(f"SKIPPED: {path} does not start: {reason}")
        return 0
    with page:
        page.viewport(1280, 900)
        page.color_scheme("light")
        loads(page, pathlib.Path(sys.argv[1]).resolve().as_uri())
        for step in (hovers, stands_still, changes_heads, obeys_the_keyboard, has_a_table,
                     is_light_and_dark, fits_small_screens, shows_texts_as_they_are,
                     runs_no_token, shows_evidence):
            step(page)
        check(page.problems == [], f"the console is quiet: {page.problems}")
    print(f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
