"""What must not leave the machine: customers' data, secrets, and where on a disk things lay.

Every text of somebody else's is masked once, where it enters: an answer's error in the driver, a reason, an error or an
excerpt in the reader. All patterns take linear time, since what they are given may be made to hurt: each consumes what
it has looked at, or looks at a bounded number of characters. Scanners for secrets (detect-secrets, say) tell that a
file holds one; they do not cut it out of a line, and know neither URLs' passwords nor other encodings.
"""

import base64
import binascii
import re

_EDGE = r"(?:(?<![A-Za-z0-9_-])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt]))"
"""Where a word begins, also behind a percent-encoded or an escaped character."""

_JOINED = re.compile(r"(['\"`])\s{0,80}\+\s{0,80}\1")  # a long string, as util.inspect prints it
_PEM = re.compile(r"-----BEGIN[A-Z0-9 %+]{1,60}-----(?:(?!-----END)[\s\S])*(?:-----END[A-Z0-9 %+]{1,60}-----)?")
_PEM_LINE = re.compile(r"(?m)^[ \t]{0,40}[A-Za-z0-9+/]{60,76}[ \t]{0,40}$")
_TOKEN = re.compile(
    _EDGE
    + r"""(?x:
    # Stripe, Supabase, Resend; code and packages; chats, clouds, models
    (?: [sprw]k_(?:live|test)_ | whsec_ | sb_(?:secret|publishable)_ | sbp_(?=\w{16}) | re_(?=\w{8,16}_)
    | gh[opusr]_(?=\w{16}) | github_pat_ | gl(?:pat|dt|rt)-(?=[\w-]{16}) | npm_(?=\w{30}) | pypi-(?=[\w-]{16})
    | xox[abeoprs]-(?=[\w-]{8}) | xapp-(?=[\w-]{8}) | shp(?:at|ss|ca|pa)_ | dop_v1_ | hf_(?=\w{20}) | dapi(?=\w{32})
    | sk-(?=[\w-]{16}) | AIza(?=[\w-]{30}) | ya29\. | SG\.(?=[\w-]{16}) | key-(?=[0-9a-f]{32}) | SK(?=[0-9a-f]{32})
    | (?:AKIA|ASIA|ABIA|ACCA)(?=[A-Z0-9]{12}) | vault:v\d: | hv[bs]\.(?=\w{16}) | \d{8,10}:AA(?=[\w-]{30}) ) [\w.+/=-]+
    | eyJ[\w-]{4,}(?:\.|%2E)[\w.-]+ )"""
)
_LINK = re.compile(r"(?i)(?::|%3a|\\u003a)(?:/|\\/|%2f|\\u002f){2}[^\s\"'`<>]+")
_LINK_START = re.compile(r"(?i)((?::|%3a|\\u003a)(?:/|\\/|%2f|\\u002f){2})")
_AT = re.compile(r"(?i)@|%40|\\u0040")
_PATH = re.compile(r"(?i)[/?#]|\\/|%2f|%3f")
_COLON = re.compile(r"(?i):|%3a")
_PORT = re.compile(r"\d{0,5}(?![^\s/?#,.;)\]}\\&%])")
_SCHEME = re.compile(r"(?i)\b(Basic|Bearer|Digest|ApiKey)((?:\s|%20){1,4})(?!\*\*\*)[^\s\"'`,;\\&<>]+")
_QUOTE = r"(?:[\"'`]|%2[27])"
_SEPARATOR = rf"\\{{0,4}}{_QUOTE}?\]?\s{{0,20}}(?::|=>|=|%3[AaDd])(?:\s|%20){{0,20}}"
_STAYS = r"(?!(?:null|undefined|true|false|\[\w+\])(?![\w-]))"
_QUOTED = r"(?P<escape>\\{0,4})(?P<quote>[\"'`]|%2[27])(?:(?!(?P=escape)(?P=quote))[\s\S])*"
_HEADER = re.compile(
    r"(?i)((?:proxy-)?authorization|(?:set-)?cookie|x-api-key)(" + _SEPARATOR + r")"
    r"(?P<scheme>\\{0,4}[\"'`]?(?:(?:Basic|Bearer|Digest|Token|ApiKey)\s)?)(?!\s{0,20}(?:\w{1,10}\s)?\*\*\*)[^\"'`\r\n\\}]+"
)
_SECRET = re.compile(
    r"(?i)(?P<key>(?:pass(?:word|wd|phrase|code)?|pwd|secret|token|(?:api|access|private|signing|service|role|auth|encryption"
    r"|account)[_-]?key|credentials?|jwt|session(?:[_-]?id)?|sid|otp)(?:[_-]?(?:hash|value))?"
    + _SEPARATOR
    + r")"
    + _STAYS
    + r"(?:"
    + _QUOTED
    + r"|[^\s,;&}\])\"'`\\]+)"
)
_NAMED = re.compile(
    r"(?i)(?P<key>\b(?:customer_?|guest_?|full_?|first_?|last_?)?(?:name|phone|notes)" + _SEPARATOR + r")"
    r"(?!\\{0,4}[\"'][A-Z]\w*(?:Error|Exception)\\{0,4}[\"'])"  # name: 'AbortError' is a fact, not a person
     + _QUOTED
)
_BASE64 = re.compile(r"(?<![\w+/=.-])[A-Za-z0-9+/_-]{16,8192}={0,2}(?![\w+/=-])")
# The mask of an address is the platform's own: its first two characters and the last are left.
_EMAIL = re.compile(r"(?<![\w.%+*-])([\w.%+-]{1,200}?)(@|%40)([\w-]{1,100}(?:\.[\w-]{1,100}){1,10})(?![\w-])")
_PHONE = re.compile(r"(?<![\w.:-])(?:(?:\+|%2[Bb])\d|0)[\d ()-]{7,24}\d(?![\w.:-])")
_HOME = re.compile(r"(?:/(?:home|Users)/[^/\s'\"<>:]+|/root)(?=/)")


def mask(text: str, longest: int | None = None) -> str:
    """The text with e-mail addresses, phone numbers, names, passwords, tokens and logins in URLs masked.

    Identifiers (UUIDs), instants and figures stay: they are what an excerpt is for. With ``longest`` it is cut to
    that many characters: roughly before, so that its length costs nothing, and exactly after, so that the cut
    leaves no secret too short to be known as one.
    """
    if longest is not None:
        text = text[: 2 * longest + 200]
    text = _without_secrets(_JOINED.sub("", text) if "+" in text else text)
    text = _BASE64.sub(_masked_base64, text)
    text = _EMAIL.sub(_masked_address, text)
    text = _PHONE.sub(_masked_phone, text)
    return text if longest is None else text[:longest]


def without_homes(text: str) -> str:
    """The text with the home directories of people replaced by ``~``."""
    return _HOME.sub("~", text)


def _without_secrets(text: str) -> str:
    if "-----BEGIN" in text:
        text = _PEM.sub("***", text)
    text = _PEM_LINE.sub("***", text)
    text = _TOKEN.sub("***", text)
    text = _LINK.sub(_without_login, text)
    text = _HEADER.sub(r"\1\2\g<scheme>***", text)
    text = _SCHEME.sub(r"\1\2***", text)
    text = _SECRET.sub(_masked_value, text)
    return _NAMED.sub(_masked_value, text)


def _without_login(match: re.Match[str]) -> str:
    """A word with addresses in it: of each, what stands before the last ``@`` of its host is a login."""
    head, *rest = _LINK_START.split(match[0])
    parts = [head]
    for start, address in zip(rest[::2], rest[1::2], strict=True):
        parts += [start, _masked_login(address)]
    return "".join(parts)


def _masked_login(address: str) -> str:
    path, colon = _PATH.search(address), _COLON.search(address)
    host_end = path.start() if path else len(address)
    ats = list(_AT.finditer(address))
    in_host = [each for each in ats if each.start() < host_end]
    if in_host:
        return f"***:***{address[in_host[-1].start() :]}"
    if colon is None or colon.end() > host_end or _PORT.match(address, colon.end()):
        return address
    # A password with a slash in it, or one that was cut before its @.
    return f"***:***{address[ats[-1].start() :] if ats else address[host_end:]}"


def _masked_value(match: re.Match[str]) -> str:
    quote = f"{match['escape']}{match['quote']}" if match["quote"] else ""
    return f"{match['key']}{quote}***"


def _masked_base64(match: re.Match[str]) -> str:
    """A word that is the base64 of a text with a secret in it."""
    word = match[0].rstrip("=").translate(_URL_SAFE)
    try:
        decoded = base64.b64decode(word + "=" * (-len(word) % 4), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return match[0]
    return match[0] if not " ".join(decoded.split()).isprintable() or _without_secrets(decoded) == decoded else "***"


_URL_SAFE = str.maketrans("-_", "+/")


def _masked_address(match: re.Match[str]) -> str:
    local, at, domain = match.groups()
    return f"{local[:2]}***{local[-1]}{at}{domain}"


def _masked_phone(match: re.Match[str]) -> str:
    return f"***{match.group()[-2:]}"
