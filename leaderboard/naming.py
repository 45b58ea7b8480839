"""Names from elsewhere made fit for a site: file names that are nothing else, text that can be read, safe links.

A name of lower-case letters, digits and single underscores is its own file name, with hyphens. Any other is reduced to
those letters and gets twelve digits of its sha256 behind two hyphens, so that no two names share a file.
"""

import hashlib
import re

LONGEST = 300  # letters of a text that a page shows
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
SURROGATE = re.compile("[\ud800-\udfff]")
PLAIN = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
SOURCES = {
    "arXiv": (re.compile(r"arXiv:(\d{4}\.\d{4,5})"), "https://arxiv.org/abs/"),
    "doi": (re.compile(r"doi:(10\.\d{4,9}/[\w.()/-]+\w)"), "https://doi.org/"),
}


def slug(name: str) -> str:
    """A file name of letters a-z, digits and hyphens, another for every name."""
    if len(name) <= 60 and PLAIN.fullmatch(name):
        return name.replace("_", "-")
    kept = re.sub("[^a-z0-9]+", "-", name[:200].lower()).strip("-")[:40].strip("-") or "x"
    return f"{kept}--{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def readable(text: str) -> str:
    """The text, cut where it is very long; letters that cannot be seen or turn the writing around are named."""
    if len(text) <= LONGEST and text.isascii() and text.isprintable():
        return text  # nearly all that there is
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}… (cut: {len(text)} letters)"
    if CONTROL.search(text):
        text = CONTROL.sub(lambda found: f"‹U+{ord(found[0]):04X}›", text)
    return SURROGATE.sub("\ufffd", text) if not text.isascii() else text


def paper_links(reference: str) -> list[tuple[str, str]]:
    """What a reference names that has an address: text and https link."""
    found = [(f"{name}:{n}", base + n) for name, (form, base) in SOURCES.items() for n in form.findall(reference)]
    return list(dict.fromkeys(found))


def file_safe(name: str) -> str:
    """A name that is said to be fit for a file as it is, or its slug where it is not."""
    return name if re.fullmatch("[a-z0-9]+(?:-{1,2}[a-z0-9]+)*", name) and len(name) <= 120 else slug(name)
