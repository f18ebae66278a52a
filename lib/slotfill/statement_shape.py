"""The shape of a statement: what may be kept of SQL, and of what is asked in another language.

What opens or closes a literal is not the same everywhere, and a literal that is read too short leaves guests' data
behind it. So where two readings are possible everything behind the doubt is ``?``.
"""

import re
from itertools import pairwise

LONGEST_STATEMENT = 2_000
UNKNOWN = "?"
"""The shape of a statement of which nothing may be kept."""
SQL_WORDS = frozenset(
    """
    SELECT INSERT UPDATE DELETE WITH MERGE UPSERT REPLACE VALUES TABLE CALL EXEC EXECUTE BEGIN START COMMIT END
    ROLLBACK SAVEPOINT RELEASE SET RESET SHOW EXPLAIN CREATE ALTER DROP TRUNCATE COPY LOCK FETCH DECLARE CLOSE
    PREPARE DEALLOCATE DISCARD LISTEN NOTIFY ANALYZE VACUUM
    """.split()  # noqa: SIM905
)
"""First words of statements."""
_STANDARD = frozenset(
    """
    postgresql postgres cockroachdb yugabytedb edb greenplum redshift aws.redshift mssql microsoft.sql_server
    oracle oracle.db db2 ibm.db2 snowflake h2 h2database hsqldb derby firebird firebirdsql trino presto vertica
    teradata hanadb sap.hana netezza ibm.netezza duckdb
    """.split()  # noqa: SIM905
)
"""Systems, as ``db.system`` has them, where what stands in double quotes is a name."""
_OTHER_SQL = frozenset(
    """
    mysql mariadb sqlite tidb clickhouse spanner gcp.spanner cloudspanner bigquery gcp.bigquery hive spark
    informix ibm.informix sybase maxdb sap.maxdb ingres actian.ingres other_sql
    """.split()  # noqa: SIM905
)
"""Those where it is, or can be, a text."""

_TEXTS = r"""
      --[^\n]* | /\*(?:(?!/\*).)*?\*/ | /\*.*                       # comments; where one in another ends depends
    | (?<![\w$])[eE]'(?:[^'\\]|''|\\(?:.|\Z))*+(?:'|\Z)             # E'text'
    | (?<![\w$])[nN]?[qQ]'.*                                        # Oracle's, with brackets of anyone's choice
    | (?:(?<![\w$])(?:[nNbBxX]|[uU]&))?'(?:[^'\\]|''|\\(?!'))*+
        (?: \\'.* | '|\Z )                                          # 'text'; the end, or not: \'
    | \$((?:[^\W\d]\w*)?)\$.*?(?:\$\1\$|\Z)                        # $tag$text$tag$
    | `(?:[^`]|``)*+(?:`|\Z)
"""
_STANDARD_TEXTS = re.compile(rf"""(?xs) {_TEXTS} | "(?:[^"]|"")*+(?:"|\Z)""")
_OTHER_TEXTS = re.compile(rf"""(?xs) {_TEXTS} | \#[^\n]* | "(?:[^"\\]|""|\\(?!"))*+ (?: \\".* | "|\Z )""")
_QUOTED_NAME = re.compile(r"(?a)(?P<quote>[\"`])[A-Za-z_]\w{0,62}(?P=quote)")
_NUMBER = re.compile(r"(?<![\w$.\"])[-+]?\.?\d[\w.]*")
_ADDRESS = re.compile(r"\S*\w@[\w-]+\.\w\S*")
"""Of e-mail: none should be left without its quotes."""
_PLACEHOLDER = re.compile(r"\$\d|%[sbt]|%\(\w+\)s|\?|(?<!:):\w|@\w|\{\w+:")
_COMMAND = re.compile(r"(?a)[A-Za-z][A-Za-z_.]{0,30}(?=\s|\Z)")


def statement_without_values(statement: str, system: str | None = "postgresql") -> str:
    """SQL on one line, with ``?`` for every literal and without its comments; of other languages the first word.

    ``system`` is its ``db.system``, ``None`` where nobody says: then only what begins as SQL does is taken for it.
    """
    plain = _NUMBER.sub("?", _without_texts(statement[: 4 * LONGEST_STATEMENT], system))
    shape = " ".join(_ADDRESS.sub("?", plain).split())
    if system is None:
        is_sql = shape.partition(" ")[0].rstrip(";").upper() in SQL_WORDS
    else:
        is_sql = system.lower() in _STANDARD or system.lower() in _OTHER_SQL
    if not is_sql:
        command = _COMMAND.match(statement.lstrip()) if system is not None else None
        return command[0] if command else UNKNOWN
    # Cut between words: half a quoted name would be another shape the next time.
    return shape if len(shape) <= LONGEST_STATEMENT else shape[: LONGEST_STATEMENT + 1].rpartition(" ")[0]


def shows_all(statement: str, system: str | None = "postgresql") -> bool:
    """Whether the statement has its values in it, and no placeholder for any."""
    return _PLACEHOLDER.search(_texts(system).sub(" ", statement)) is None


def table_of(statement: str | None) -> str | None:
    """The first table that a statement without values names."""
    words = re.sub(r"[\"`\[\]]", "", (statement or "").replace("(", " ( ")).split()
    for word, follower in pairwise(words):
        if word.upper() in ("FROM", "INTO", "UPDATE", "JOIN", "TABLE") and follower[:1].isalpha():
            return follower.rstrip(",;)").rpartition(".")[2].lower()
    return None


def _texts(system: str | None) -> re.Pattern[str]:
    return _STANDARD_TEXTS if (system or "").lower() in _STANDARD else _OTHER_TEXTS


def _without_texts(statement: str, system: str | None) -> str:
    standard = _texts(system) is _STANDARD_TEXTS

    def shape(match: re.Match[str]) -> str:
        text = match[0]
        if text.startswith(("--", "/*", "#")):
            return " "
        return text if (standard or text[0] == "`") and _QUOTED_NAME.fullmatch(text) else "?"

    return _texts(system).sub(shape, statement)
