"""make_corpus.py: writes the seeds of the fuzz targets into corpus/TARGET/.

make_corpus.py lines FILE: prints a checkpoint as the lines of checkpoint_input.h. So
corpus/*/model_* were made from tiny models that the programs saved.

Seeds are named seed_*; inputs that failed before have other names and are not changed.
The bytes before the data choose a mode: see LLVMFuzzerTestOneInput in TARGET_fuzz.cpp.
"""

import gzip
import json
import pathlib
import random
import struct
import sys

HERE = pathlib.Path(__file__).parent


def write(target, name, *parts):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    parts = [part.encode() if isinstance(part, str) else part for part in parts]
    (folder / f"seed_{name}").write_bytes(b"".join(parts))


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors():
    headers = {
        "empty": {},
        "state": {"a": entry("F32", [2, 3], 0, 24), "b": entry("I64", [2], 24, 40)},
        "metadata": {"__metadata__": {"kind": "x", "n": "1"}, "a": entry("F64", [], 0, 8)},
        "types": {
            "bool": entry("BOOL", [4], 0, 4),
            "half": entry("F16", [2], 4, 8),
            "none": entry("BF16", [0, 7], 8, 8),
        },
        "overflow": {"a": entry("F32", [2**32, 2**32], 0, 0)},
        "gap": {"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 8, 12)},
        "overlap": {"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 2, 6)},
        "generator": {"a": entry("F32", [2, 3], 0, 24), "b": entry("I64", [2], 24, 40)},
    }
    for name, header in headers.items():
        ends = [value["data_offsets"][1] for key, value in header.items() if key[0] != "_"]
        size = max(ends, default=0)
        text = json.dumps(header, separators=(",", ":")).encode()
        write("safetensors", name, bytes([1, (size + 3) // 4]), text)
    text = json.dumps(headers["state"]).encode()
    write("safetensors", "file", b"\0\0", struct.pack("<Q", len(text)), text, bytes(40))
    write("safetensors", "long_header", b"\0\0", struct.pack("<Q", 10**15), b"{}")
    write("safetensors", "cut", b"\0\0", b"\1\0\0")


def text():
    lines = "two words\r\n\n\ttabs and blanks \nend"
    utf8 = "\ufeffmark, gr\u00fc\u00dfe, \u65e5\u672c\u8a9e, \U0001f469\u200d\U0001f467\n\ufffd"
    invalid = b"\xff a\xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xe2\x82"
    for mode in (0, 1):
        write("text", f"lines_{mode}", bytes([mode, mode]), lines)
        write("text", f"utf8_{mode}", bytes([mode, 2]), utf8)
        write("text", f"invalid_{mode}", bytes([mode, 0]), invalid)
    write("text", "controls", b"\1\0", bytes(range(32)), b"\x7f\xc2\x80\xc2\x9f")


def gzip_():
    packed = gzip.compress(b"text text text\n", mtime=0)
    write("gzip", "file", b"\0\0", packed)
    write("gzip", "two_members", b"\0\0", packed, packed)
    write("gzip", "cut", b"\0\0", packed[:-5])
    write("gzip", "wrong_checksum", b"\0\0", packed[:-8], b"\0\0\0\0", packed[-4:])
    write("gzip", "trailing", b"\0\0", packed, b"more")
    write("gzip", "bomb", b"\0\0", gzip.compress(bytes(600_000), mtime=0))
    write("gzip", "none", b"\0\0")
    write("gzip", "stored", b"\6\0", "stored text")
    write("gzip", "compressed", b"\7\3", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab")


def vocab():
    specials = ["<pad>", "<unk>", "<bos>", "<eos>"]
    write("vocab", "json", b"\0", json.dumps(specials + ["a", "\u00fc", {"hex": "ff00"}]))
    write("vocab", "twice", b"\0", json.dumps(specials + ["a", "a"]))
    write("vocab", "special", b"\0", json.dumps(specials + ["<eos>"]))
    write("vocab", "few", b"\0", json.dumps(specials[:3]))
    write("vocab", "hex", b"\0", json.dumps(specials + [{"hex": "f"}]))
    write("vocab", "nested", b"\0", "[" * 200)
    write("vocab", "words", b"\1\0\3", "the cat the dog <eos>")
    write("vocab", "characters", b"\2\1\7", b"abca \xff\xc3\xbc")


def bpe():
    codes = "l o\nlo w</w>\ne r\ner </w>\n"
    write("bpe", "learn", b"\0\1\x0c", "low lower lowest newer newer")
    write("bpe", "learn_all", b"\0\0\x0f", "aaaa abab aabb aaaaa")
    write("bpe", "codes", b"\2", "lower low\n", codes)
    write("bpe", "header", b"\1", "word\n#version: 0.2\n", codes)
    write("bpe", "no_header", b"\1", "word\n", codes)
    write("bpe", "runs", b"\2", "aaaaaaa aaa\n", "a a\naa a</w>\naa aa\n")
    write("bpe", "order", b"\2", "ababab\n", "ab a\na b\nab ab\n")
    write("bpe", "marked", b"\2", "a@@ b\n", "a b\n")
    write("bpe", "invalid", b"\2", b"\xff\xfe\n", b"\xff a\n")
    write("bpe", "one_piece", b"\2", "w\n", "alone\n")


def pieces():
    def file(*entries):
        body = b"".join(struct.pack("<fI", score, len(text)) + text for score, text in entries)
        return struct.pack("<I", 8) + body

    specials = [(0, b"<unk>"), (0, b"<s>"), (0, b"</s>")]
    words = [(-1, b" a"), (-2, b"b"), (-3, b"a"), (-4, b" "), (-5, b"ab"), (0, b"<0x62>")]
    write("pieces", "file", b"\1", "abab\n", file(*specials, *words))
    write("pieces", "few", b"\1", "a\n", file(*specials[:2]))
    write("pieces", "nan", b"\1", "a\n", file(*specials, (float("nan"), b"a")))
    write("pieces", "long", b"\1", "a\n", file(*specials), struct.pack("<fI", 0, 2**32 - 1))
    write("pieces", "no_text", b"\1", "a\n", file(*specials, (0, b"")))
    write("pieces", "cut", b"\1", "a\n", file(*specials, *words)[:-3])
    write("pieces", "lines", b"\0", "hello there\n", "h\ne\nl\no\nhe\nll\nhell\n the\n")
    write("pieces", "byte_names", b"\0", "a<0x41>\n", "<0x41>\n<0x61>a\nA<\n")
    write("pieces", "bytes", b"\0", b"\xff\xc3\xbc\n", b"\xc3\xbc\n\xff\n\xff\xc3\xbc\n")


def numbers():
    for name, text_ in {"mb": "800MB", "gib": "2.5 GiB", "plain": "4096", "large": "9e18",
                        "nan": "nan", "words": "words", "signs": "-1k", "empty": ""}.items():
        write("numbers", name, text_)


def page():
    for i, token in enumerate(HOSTILE):
        write("page", f"{i:02}", token)


def ops():
    for i in range(16):
        write("ops", f"{i:02}", random.Random(i).randbytes(200))


HOSTILE = ["</script><script>x=1</script>", "<!--", "-->", "]]>", "&lt;&#60;", "\"'`", "{{data}}",
           "{{title}}", "\u2028\u2029", "\x1b[31m\x1b]0;t\x07", "\u202e\u200f", "\\u003c/script",
           b"\xff\xc3", "\n\r\t", "", "<svg onload=x>", "${x}", "javascript:x"]

def trainer():
    write("trainer", "unchanged", b"\0\0")
    write("trainer", "cut", b"\0\5")
    write("trainer", "edit", b"\0\0\0\50\x7f\1\2\3")
    write("trainer", "numbers", b"\1\0\7\xff\1\0\x80\2\3\4")
    write("trainer", "counts", b"\1", b"".join(bytes([i, 7, 255]) for i in range(16)))


def variants(target, model, changes):
    """The lines of corpus/TARGET/model_MODEL, each time with one string replaced."""
    text = (HERE / "corpus" / target / f"model_{model}").read_text()
    for name, (old, new) in changes.items():
        assert old in text, old
        write(target, f"{model}_{name}", text.replace(old, new, 1))


def translate():
    hidden, vocab = '"hidden_size":2', '"<eos>","b"]'
    variants("translate", "rnn", {
        "huge": (hidden, f'"hidden_size":{2**62}'), "negative": (hidden, '"hidden_size":-1'),
        "text": (hidden, '"hidden_size":"2"'), "fraction": (hidden, '"hidden_size":2.5'),
        "missing": (hidden + ",", ""), "no_json": ("options={", "options=["),
        "attention": ('"additive"', '"location"'), "kind": ("translate 2", "translate 1"),
        "more_words": (vocab, '"<eos>","b","c"]'), "no_vocab": ("source_vocab", "vocab"),
        "bpe": ("source_vocab", "bpe=#version: 0.2\\na b\nsource_vocab"),
        "shape": ("@source_embedding.weight 5,2", "@source_embedding.weight 5,3")})
    for name, links in {"good": "0-0 2-0\n0-1\n", "far": "9-0\n\n", "few": "0-0\n",
                        "wrong": "0:0\n\n", "huge": "99999999999999999999-0\n\n"}.items():
        write("translate", f"links_{name}", b"\1", links)


def sentiment():
    variants("sentiment", "bilstm", {
        "huge": ('"embed":2', f'"embed":{2**40}'), "none": ('"hidden":2', '"hidden":0'),
        "model": ("bilstm+additive", "selfattention"), "pooling": ('"attention"', '"none"'),
        "layers": ('"layers":1', f'"layers":{2**31}'),
        "dropout": ('"dropout":', '"dropout":1e9,"x":')})
    for name, text_ in {"good": "a good film\t1\nbad , isn't it ?\t0\n", "label": "x\t2\n",
                        "no_text": " \t1\n", "no_tab": "x 1\n", "none": ""}.items():
        write("sentiment", f"reviews_{name}", b"\1", text_)


def generate():
    variants("generate", "characters", {
        "huge": ('"d_model":2', f'"d_model":{2**40}'), "odd": ('"d_model":2', '"d_model":3'),
        "heads": ('"nhead":1', '"nhead":0'), "negative": ('"max_len":8', '"max_len":-1'),
        "layers": ('"num_layers":1', f'"num_layers":{2**31}'),
        "window": ('"window":64', f'"window":{2**63 - 1}')})
    llama = {"vocab_size": 8, "dim": 4, "n_heads": 2, "n_kv_heads": 1, "n_layers": 1,
             "hidden_dim": 4, "max_seq_len": 8}
    shapes = {"tok_embeddings.weight": "8,4", "norm.weight": "4",
              "layers.0.attention.wq.weight": "4,4", "layers.0.attention.wk.weight": "2,4",
              "layers.0.attention.wv.weight": "2,4", "layers.0.attention.wo.weight": "4,4",
              "layers.0.feed_forward.w1.weight": "4,4", "layers.0.feed_forward.w2.weight": "4,4",
              "layers.0.feed_forward.w3.weight": "4,4", "layers.0.attention_norm.weight": "4",
              "layers.0.ffn_norm.weight": "4"}
    for name, changes in {"small": {}, "huge": {"dim": 2**61}, "heads": {"n_heads": 3},
                          "groups": {"n_kv_heads": 2}, "sign": {"dim": "-4"},
                          "vocab": {"vocab_size": 9}}.items():
        lines = [f"{key}={value}" for key, value in (llama | changes).items()]
        lines += [f"@{key} {shape}" for key, shape in shapes.items()]
        write("generate", f"llama_{name}", b"\1", "\n".join(lines))


def lines(path):
    data = pathlib.Path(path).read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    text = [f"{key}={value}" for key, value in header.pop("__metadata__", {}).items()
            if not key.startswith("fovea.xxh64.")]
    text += [f"@{name} {','.join(map(str, entry['shape']))}" for name, entry in header.items()]
    return "\n".join(text)


def command_lines(target, words):
    for i, line in enumerate(["", "--help", "--seed\n5\n--threads\n2", "--seed\n-1", "--batch\n1e3",
                              "--nothing", "--json\n", *words]):
        write(target, f"words_{i:02}", b"\2", line)


if len(sys.argv) == 3 and sys.argv[1] == "lines":
    print(lines(sys.argv[2]), end="")
    sys.exit()
for target in (safetensors, text, gzip_, vocab, bpe, pieces, numbers, page, trainer, translate,
               sentiment, generate, ops):
    target()
command_lines("translate", ["--load\nx\n--text\na", "--hidden\n9223372036854775808",
                            "--beam\n0", "--memory-limit\nmuch", "--attention\nnone\n--coverage"])
command_lines("sentiment", ["--model\nbilstm+dot", "--model\nx", "--pooling\nmax\n--load\nx"])
command_lines("generate", ["--width\n6\n--heads\n4", "--top-p\nnan", "--check", "--load\na"])
