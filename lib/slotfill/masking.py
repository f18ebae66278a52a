"""What must not leave the machine: customers' data, secrets, and where on a disk things lay.

Every text of somebody else's is masked once, where it enters: an answer's error in the driver, a reason, an error or an
excerpt in the reader. All patterns take linear time, since what they are given may be made to hurt: each consumes what
it has looked at, or looks at a bounded number of characters. Scanners for secrets (detect-secrets, say) tell that a
file holds one; they do not cut it out of a line, and know neither URLs' passwords nor other encodings.
"""

import base64
import binascii
import html
import re
from urllib.parse import unquote

_EDGE = r"(?:(?<![A-Za-z0-9_-])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt]))"
"""Where a word begins, also behind a percent-encoded or an escaped character."""

_COLOURS = re.compile(r"(?i)(?:\x1b|\\{1,4}(?:u001b|x1b|033|e))\[[\d;]{0,20}m")  # of a console, raw or written out
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
    | vercel_(?=\w{12}) | lin_api_ | ntn_(?=\w{16}) | secret_(?=\w{24}) | PMAK- | gsk_(?=\w{12})
    | pscale_(?:pw|tkn|oauth)_ | npg_(?=\w{8}) | gl(?:sa|c)_(?=\w{12}) | dckr_[po]at_ | sntry[su]_
    | dp\.(?:pt|st|ct|sa)\. | sq0(?:csp|atp|idp)-
    | pat-(?:na|eu)\d- | AT[AC]TT3 | NRA[KA]- | AGE-SECRET-KEY-1 | rubygems_(?=\w{16}) | figd_
    | hooks\.slack\.com/services/ | discord(?:app)?\.com/api/webhooks/
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
_ENTITY = "&(?:quot|apos|#x?[0-9]{2});"
_QUOTE = rf"(?:[\"'`]|%2[27]|{_ENTITY})"
_ESCAPES = r"\\{0,8}"
_SEPARATOR = rf"{_ESCAPES}{_QUOTE}?\]?\s{{0,20}}(?:::?|[=-](?:>|&gt;)|=|%3[AaDd])(?:\s|%20){{0,20}}"
_BESIDE = (
    rf"{_ESCAPES}{_QUOTE},\s{{0,20}}(?:{_ESCAPES}{_QUOTE}value{_ESCAPES}{_QUOTE}\s{{0,4}}:\s{{0,4}})?"
    rf"(?={_ESCAPES}{_QUOTE})"
)
"""Between a name and its value in a list of both, or in two fields of an object."""
_FAULT = r"(?:required|missing|invalid|expired|malformed|revoked|unset|incorrect|wrong)"
_SENTENCE = rf"""(?x: (?<=:[ ]) (?:
    {_FAULT} (?= [.,;:)\"'`\\] | [ ]\( | [ ]*(?:[\r\n]|$) )
    | invalid[ ] (?:input|value|type|string|format|key|token|jwt|uuid|url|email|length|option|enum|date|number)\b
    | expected[ ]\w | unexpected[ ]\w
    | (?:string|value|field|input|number|array)[ ] (?:must|is|should|required|contains|too)\b
    | (?:is|was|are|has[ ]been)[ ] (?:not[ ])? (?:{_FAULT}|empty|set|too|undefined|null|found|defined)\b
    | (?:must|should|cannot|may[ ]not)[ ] (?:be|not|have|contain|match|start|end)\b | does[ ]not[ ]\w
    | not[ ] (?:set|found|provided|defined|configured|allowed|valid|given)\b
    | too[ ] (?:short|long|small|big|few|many)\b
    ))"""
"""What a validator says of a value in its place: words for people, none of which is the value."""
_STAYS = rf"(?!(?:null|undefined|true|false|\[\w+\])(?![\w-]))(?!{_SENTENCE})"
_QUOTED = r"(?P<escape>\\{0,8})(?P<quote>[\"'`]|%2[27]|" + _ENTITY + r")(?:(?!(?P=escape)(?P=quote))[\s\S])*"
_HEADER = re.compile(
    r"(?i)((?:proxy-)?authorization|(?:set-)?cookie|x-api-key)(" + _SEPARATOR + r")"
    r"(?P<scheme>\\{0,4}[\"'`]?(?:(?:Basic|Bearer|Digest|Token|ApiKey)\s)?)(?!\s{0,20}(?:\w{1,10}\s)?\*\*\*)[^\"'`\r\n\\}]+"
)
_SECRET = re.compile(
    r"(?i)(?P<key>(?:pass(?:word|wd|wort|phrase|code|key)?|pwd|secret|token|(?:api|access|private|signing|service|role|auth"
    r"|encryption|account|anon|master|shared|storage|webhook)[_-]?key|credentials?|jwt|session(?:[_-]?id)?|sid|otp"
    r"|x-(?:amz|goog)-(?:signature|credential)|(?<![A-Za-z])(?:sig|pin))(?:[_-]?(?:hash|value))?(?:"
    + _SEPARATOR
    + "|"
    + _BESIDE
    + r")\[?)"
    + _STAYS
    + r"(?:"
    + _QUOTED
    + r"|[^\s,;&}\])\"'`\\]+)"
)
_WORDED = re.compile(  # where no sign stands between: options, .netrc, SQL, markup
    r"""(?xi) (?P<key> --?[\w-]{0,20} (?:pass(?:word|wd|phrase)?|secret|token|api-?key) \s{1,4}
    | \blogin \s{1,4} \S{1,100} \s{1,4} password \s{1,4} | \bsshpass \s{1,4} -p \s{0,4}
    | \bcurl \s [^\n]{0,80}? (?:-u|--user) [\s=]{0,4} [^\s:]{1,100} :
    | \bpassword \s{1,4} (?=\\{0,8}['"`]|&\#|&quot;)
    | (?:<|&lt;) [\w:.-]{0,40} (?:password|passwd|secret|token|apikey) (?:>|&gt;) )
    (?:(?P<quote>\\{0,8}['"`]|&(?:quot|\#x?[0-9]{2});) (?:(?!(?P=quote))[\s\S])* | [^\s<>"'`,;&\\]+)"""
)
_LOGIN = re.compile(r"(?<![\w.%+*/-])[\w.%+-]{1,100}:[^\s@/:\"'`<>*]{1,200}(?=@[\w.-]{1,200}:\d{2,5}(?!\d))")
_NAMED = re.compile(
    r"(?i)(?P<key>\b(?:customer_?|guest_?|full_?|first_?|last_?)?(?:name|phone|notes)" + _SEPARATOR + r")"
    r"(?!\\{0,4}[\"'][A-Z]\w*(?:Error|Exception)\\{0,4}[\"'])"  # name: 'AbortError' is a fact, not a person
     + _QUOTED
)
_WORD = re.compile(r"[^\s\"'`<>,]+")
_WRITTEN_OUT = re.compile(r"(?i)\\{1,4}(?:u00|x)([0-9a-f]{2})")
_HEX = re.compile(r"(?i)(?<![\w-])(?:\\?x)?((?:[2-7][0-9a-f]|0[9ad]|1b){10,4096})(?![\w-])")
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
    text = _without_secrets(_plain(_JOINED.sub("", text) if "+" in text else text))
    text = _BASE64.sub(_masked_base64, text)
    text = _HEX.sub(_masked_hex, text)
    if any(sign in text for sign in _ESCAPED):
        text = _WORD.sub(_masked_word, text)
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
    text = _WORDED.sub(r"\g<key>\g<quote>***", text)
    text = _LOGIN.sub("***:***", text)
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
    return "***" if _is_secret(decoded) else match[0]


def _masked_hex(match: re.Match[str]) -> str:
    """A word that is the hexadecimal form of a text with a secret in it."""
    decoded = bytes.fromhex(match[1]).decode("ascii", "replace")
    return "***" if _is_secret(decoded) else match[0]


def _masked_word(match: re.Match[str]) -> str:
    """A word in which a secret is to be seen once its escapes are undone: of URLs in URLs, JSON and markup."""
    word = match[0]
    if not any(sign in word for sign in _ESCAPED):
        return word
    decoded = _WRITTEN_OUT.sub(lambda found: chr(int(found[1], 16)), unquote(unquote(html.unescape(word))))
    return "***" if decoded != word and _is_secret(decoded) else word


def _is_secret(decoded: str) -> bool:
    """Whether a text that was written in another form holds a secret; what is not printable is no text."""
    text = _plain(decoded)
    return " ".join(text.split()).isprintable() and _without_secrets(text) != text


def _plain(text: str) -> str:
    return _COLOURS.sub("", text) if "[" in text else text


_ESCAPED = ("%", "\\", "&")
_URL_SAFE = str.maketrans("-_", "+/")


def _masked_address(match: re.Match[str]) -> str:
    local, at, domain = match.groups()
    return f"{local[:2]}***{local[-1]}{at}{domain}"


def _masked_phone(match: re.Match[str]) -> str:
    return f"***{match.group()[-2:]}"
