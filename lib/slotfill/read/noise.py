"""Lines that say nothing about a booking: what the tools around the booking script print."""

import re

_CODE_FOLLOWS = re.compile(r"(?:/|file:|node:|[A-Za-z]:\\)\S*:\d+$")  # Node shows the line that threw, and a caret
_LINES_OF_CODE = 2
_PSQL_STARTS = ("Output format is ", "Pager usage is ", "Pager is ", "Expanded display is ", "Timing is ", "psql ")

_PLAIN = (
    r">",  # pnpm, npm and yarn announce the script they run
    r"\$ ",
    r"\s*(?:✅|❌|🔍|⚠|ℹ|🚀|🎯|✓|✗|▲|△|○|●|◐|⨯|×|»|─|━|═)",
    r"\s*(?:ELIFECYCLE|ERR_PNPM|WARN|Done in|npm (?:warn|WARN|ERR!|error|notice|info)|yarn |pnpm |error Command)",
    r"\s*at (?:[\w.<>\[\] $#*/@:\\-]+ ?\(|async |file:|node:|/|<anonymous>)",  # stack traces
    r"\s*\^+\s*$",
    r"\s*throw ",
    r"(?:Uncaught )?[\w$]*(?:Error|Exception)\b",
    r"[A-Z][A-Z0-9_]{2,}: ",  # one line a variable of a failed environment check
    r"Node\.js v",
    r"\(node:\d+\)|\(Use `node|Debugger (?:attached|listening)|Waiting for the debugger|For help, see: https://nodejs",
    r"__EXIT_CODE=|exit(?:ed| status| code) ",
    r"\[\d{8}T\d{6}Z\] ",  # the loop that starts one try after another
    r"\s*failure \(code \d+\)|\s*NOTE: |\s*success\b",
    r"Slot \d\d:\d\d |(?:\\n)?=== |Filling \d+ slots",
    r"\s*[│├└]",  # the fetches of a request, as Next.js shows them below it
    r"\s*- (?:ready|Local|Network|Environments|Experiments|Inspector|Turbopack|event|info|wait|warn|error)\b",
    r"(?:wait|event|info|warn|error|ready) +- ",
    r"\s*(?:- )?(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) /\S* \d{3} in ",
    r"(?:INFO|WARNING|DEBUG): {2,}",  # uvicorn
    r"[\s|+.*=#~_-]+$",  # rules and boxes
)
_NOISE = re.compile("|".join(_PLAIN))


class NoiseFilter:
    """Tells tool noise from lines that were not understood; it remembers what the line before announced."""

    def __init__(self) -> None:
        self._code_lines = 0
        self._psql = False

    @property
    def is_quiet(self) -> bool:
        """Whether nothing was announced: then a line is judged by itself."""
        return not self._psql and not self._code_lines

    def is_noise(self, line: str) -> bool:
        """Whether a line that is no event and no block is known to mean nothing."""
        if self._psql or not line or line.isspace():
            return True
        if self._code_lines:
            self._code_lines -= 1
            return True
        if line.startswith(_PSQL_STARTS):
            self._psql = True  # psql's tables have titles of any wording: the rest of the file is its output
            return True
        if _CODE_FOLLOWS.match(line):
            self._code_lines = _LINES_OF_CODE
            return True
        return _NOISE.match(line) is not None
