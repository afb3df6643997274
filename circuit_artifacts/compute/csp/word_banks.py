"""The words and templates that CSP-Atlas prompts are made of (csp_atlas spec 3).

The order of every tuple matters: prompts are drawn from them with a seeded generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = [
    "CHECKER_CATEGORIES",
    "CHECKER_CONTEXTS",
    "CHECKER_SNIPPETS",
    "DOMAINS",
    "ESSENCES",
    "IDENTIFIER_COMPREHENSION",
    "IDENTIFIER_VARIANTS",
    "ITERABLE_LINES",
    "ITERABLE_LINE_OTHERWISE",
    "PADDING_AFTER",
    "PADDING_BEFORE",
    "STRING_WORDS",
    "VARIABLE_NAMES",
    "WRAPPERS",
    "WRAPPER_WEIGHTS",
    "Domain",
]


@dataclass(frozen=True)
class Domain:
    """The names and literals of one subject area.

    Attributes:
        names: role of a name in the templates -> the domain's word for it.
        literals: builtin -> source text of a value of that type.
    """

    names: Mapping[str, str]
    literals: Mapping[str, str]

    def literal(self, builtin: str) -> str:
        """Source text of a value of the type; the list's, for a builtin that the domain has no value of."""
        return self.literals.get(builtin, self.literals["list"])


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _domain(names: str, *literals: str) -> Domain:
    roles = _words("items table item function class_name method value")
    types = _words("list dict int str float set tuple bool")
    return Domain(
        MappingProxyType(dict(zip(roles, _words(names), strict=True))),
        MappingProxyType(dict(zip(types, literals, strict=True))),
    )


DOMAINS = (
    _domain(
        "ledger_entries account_records transaction audit_record PortfolioManager calculate_returns balance",
        "[1050.50, -20.00, 400.25, 88.10]",
        "{'ticker': 'AAPL', 'shares': 150, 'price': 178.50}",
        "42500",
        "'USD-2024-Q3-REPORT'",
        "3.75",
        "{'NYSE', 'NASDAQ', 'LSE'}",
        "('BUY', 150, 178.50)",
        "True",
    ),
    _domain(
        "dna_samples genome_annotations genome_sequence analyze_genome SequenceAnalyzer run_alignment mutation_rate",
        "['ACTG', 'GCTA', 'CGAT', 'TTAC']",
        "{'gene': 'BRCA1', 'chromosome': 17, 'position': 43044295}",
        "43044295",
        "'BRCA1-VARIANT-P53'",
        "0.95",
        "{'adenine', 'thymine', 'guanine'}",
        "('chr17', 43044295, 43125483)",
        "False",
    ),
    _domain(
        "player_scores character_stats player_entry update_leaderboard GameEngine spawn_entity hit_points",
        "[9500, 8700, 12400, 6300]",
        "{'health': 100, 'mana': 50, 'attack': 25}",
        "9500",
        "'LEVEL_42_BOSS'",
        "1.5",
        "{'warrior', 'mage', 'rogue'}",
        "('dragon', 5000, 'fire')",
        "True",
    ),
    _domain(
        "measurements particle_data reading compute_trajectory SimulationRunner step_forward velocity",
        "[9.81, 3.0e8, 6.674e-11, 1.602e-19]",
        "{'mass': 1.67e-27, 'charge': 1.6e-19, 'spin': 0.5}",
        "299792458",
        "'MUON_DECAY_EVENT'",
        "9.81",
        "{'proton', 'neutron', 'electron'}",
        "(0.0, 9.81, -3.2)",
        "False",
    ),
    _domain(
        "shopping_cart product_catalog order_item process_checkout OrderProcessor apply_discount total_price",
        "[29.99, 15.50, 89.00, 4.99]",
        "{'sku': 'WDG-4420', 'price': 29.99, 'stock': 142}",
        "142",
        "'ORDER-2024-XK9001'",
        "29.99",
        "{'shipped', 'pending', 'delivered'}",
        "('WDG-4420', 29.99, 3)",
        "True",
    ),
)
"""Finance, biology, gaming, physics, e-commerce: prompt i of a pair uses domain i mod 5."""

PADDING_BEFORE = ("", "result = None", "print('Starting process')", "status = True", "counter = 0")
PADDING_AFTER = ("", "print('Done')", "status = False", "counter += 1", "result = None")

WRAPPERS = ("global", "function", "method")
WRAPPER_WEIGHTS = (0.40, 0.30, 0.30)

ITERABLE_LINES: Mapping[str, str] = MappingProxyType(
    {
        "list": "$items = $list_literal",
        "tuple": "$items = $list_literal",
        "set": "$items = $list_literal",
        "frozenset": "$items = $list_literal",
        "dict": "$table = $dict_literal",
        "range": "$items = list(range(10))",
        "str": "$items = list($str_literal)",
        "int": "$items = list(range($int_literal % 20))",
        "bytes": "$items = list(b'hello')",
        "bytearray": "$items = list(b'hello')",
    }
)
"""Builtin -> the line that makes ``$items``; loops read ``$items`` even where the line binds ``$table``."""

ITERABLE_LINE_OTHERWISE = "$items = [str($builtin), str(type($builtin))]"

ESSENCES: Mapping[str, str] = MappingProxyType(
    {
        "For": "$iterable\nfor $item in $items:\n    $function($item)",
        "While": "$value = $int_literal\nwhile $value > 0:\n    $function($value)\n    $value -= 1",
        "AsyncFor": "async def _run():\n    $iterable\n    async for $item in $items:\n        $function($item)",
        "ListComp": "$iterable\nresult = [$item for $item in $items]",
        "SetComp": "$iterable\nresult = {$item for $item in $items}",
        "GeneratorExp": "$iterable\nresult = list($item for $item in $items)",
        "DictComp": "$iterable\nresult = {str(k): k for k in $items}",
        "If": "$value = $literal\nif isinstance($value, $builtin):\n    $function($value)\nelse:\n    pass",
        "IfExp": "$value = $literal\nresult = $function($value) if isinstance($value, $builtin) else None",
        "Try": (
            "try:\n    $value = $int_literal\n    result = int($value)\nexcept $builtin as e:\n    $function(str(e))"
        ),
        "Raise": "if not isinstance($literal, $builtin):\n    raise $builtin('Invalid: ' + str($literal))",
        "FunctionDef": "def $function($item: $builtin) -> $builtin:\n    result = $builtin($item)\n    return result",
        "AsyncFunctionDef": (
            "async def $function($item):\n"
            "    result = $builtin($item) if callable($builtin) else str($item)\n"
            "    return result"
        ),
        "ClassDef": (
            "class $class_name:\n"
            "    data_type = $builtin\n"
            "    def __init__(self):\n        self.$value = $literal\n"
            "    def $method(self):\n        return self.$value"
        ),
        "Return": (
            "def $function():\n    $value = $literal\n    return $builtin($value) if callable($builtin) else $value"
        ),
        "Assign": "$value = $literal",
        "AugAssign": "$value = $int_literal\n$value += 1",
        "AnnAssign": "$value: $builtin = $literal",
        "Delete": "$value = $literal\ndel $value",
        "With": (
            "class $class_name:\n"
            "    def __enter__(self): return self\n"
            "    def __exit__(self, *a): pass\n"
            "with $class_name() as ctx:\n    $value = $literal"
        ),
        "AsyncWith": (
            "async def _run():\n"
            "    class $class_name:\n"
            "        async def __aenter__(self): return self\n"
            "        async def __aexit__(self, *a): pass\n"
            "    async with $class_name() as ctx:\n        $value = $literal"
        ),
        "Call": "result = $builtin($literal)",
        "Attribute": "$value = $literal\nresult = $value.__class__.__name__",
        "Subscript": "$iterable\nresult = $items[0]",
        "Slice": "$iterable\nresult = $items[1:3]",
        "Starred": "$iterable\nfirst, *rest = $items",
        "Lambda": "transform = lambda x: $builtin(x) if callable($builtin) else x\nresult = transform($literal)",
        "BinOp": "$value = $int_literal\nresult = $value + 1",
        "UnaryOp": "$value = $int_literal\nresult = -$value",
        "BoolOp": "$value = $literal\nresult = $value and True",
        "Compare": "$value = $literal\nresult = $value == $literal",
        "Global": "$value = $literal\ndef $function():\n    global $value\n    $value = $literal",
        "Nonlocal": (
            "def ${function}_outer():\n"
            "    $value = $literal\n"
            "    def inner():\n        nonlocal $value\n        $value = $literal\n"
            "    inner()"
        ),
        "Yield": "def $function():\n    $iterable\n    for $item in $items:\n        yield $item",
        "YieldFrom": "def $function():\n    $iterable\n    yield from $items",
        "Dict": "result = $dict_literal",
        "Set": "result = $set_literal",
        "Pass": "class $class_name:\n    pass",
        "Break": "for $item in range(5):\n    break",
        "Continue": "for $item in range(5):\n    if $item:\n        continue",
        "Assert": "$value = 1\nassert $value is not None",
        "Import": "import ast",
        "ImportFrom": "from collections import OrderedDict",
    }
)
"""Node -> the statements that use it. ``$literal`` is a value of the builtin's type; other slots are the domain's."""

CHECKER_CATEGORIES = ("A_string", "B_comment", "C_identifier", "D_dictkey", "E_print")

CHECKER_CONTEXTS = (
    "$snippet",
    "x = 1\n$snippet\ny = 2",
    "data = []\n$snippet\nresult = None",
    "def func():\n    $snippet\n    return None",
    "def process():\n    $snippet",
    "class Obj:\n    def method(self):\n        $snippet",
)
"""What surrounds a snippet. Only its first line is indented: two-line snippets do not parse in the last three."""

CHECKER_SNIPPETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "A_string": (
            '$v1 = "waiting $keyword $w1"',
            '$v1 = "$w1 $keyword $w2 reference"',
            '$v1 = "the $keyword of $w1"',
            '$v1 = "no $keyword needed for $w1"',
            '$v1 = "$w1 $keyword $w2"',
        ),
        "B_comment": (
            "$v1 = 42  # $keyword $w1 see docs",
            "# $keyword $w1 $w2 reference\n$v1 = 10",
            "$v1 = []  # TODO $keyword this later",
            "# note: $keyword not needed for $w1\n$v1 = True",
        ),
        "C_identifier": ("$identifier = 42", '$identifier = "$w1"', "$identifier = True"),
        "D_dictkey": (
            '$v1 = {"$keyword": True, "$w1": 42}',
            '$v1 = {"$w1": 10, "mode": "$keyword"}',
            '$v1 = {"action": "$w1", "$keyword": "$w2"}',
        ),
        "E_print": (
            'print("$w1 $keyword $w2")',
            'print("starting $keyword $w1")',
            'print("$keyword completed for $w1")',
        ),
    }
)

IDENTIFIER_COMPREHENSION = "$identifier = [$v1 for $v1 in []]"
"""Third choice of C_identifier for token checkers, except where the keyword is ``for``: there the first one again."""

VARIABLE_NAMES = _words(
    "data result value item record entry output signal status config mode level target source handler token state "
    "buffer counter index offset block phase cycle frame chunk batch queue score label flag limit depth width_val"
)
"""Before the names that contain a keyword are removed."""

STRING_WORDS = _words(
    "waiting ready starting completed processing running loading checking updating building reading writing sending "
    "receiving tracking reference documentation deployment production analysis operation execution validation review "
    "schedule planning progress workflow pipeline resource component structure algorithm protocol standard baseline "
    "threshold interval duration capacity frequency priority sequence pattern segment fragment section portion division"
)

IDENTIFIER_VARIANTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "import": _words("important_data reimport_flag import_path_str"),
        "break": _words("breakdown_count breakpoint_flag unbreakable"),
        "pass": _words("passport_number password_hash bypass_mode"),
        "continue": _words("continuous_mode discontinue_flag continuum"),
        "for": _words("format_string information formula_result before_update"),
        "if": _words("notification verification modification amplifier"),
        "while": _words("meanwhile_flag worthwhile awhile_counter"),
        "return": _words("return_value_str unreturnable return_label"),
        "assert": _words("assertive_mode reassert_count"),
        "with": _words("width_value withdraw_amount within_range"),
        "class": _words("classification classic_mode subclass_name"),
        "def": _words("default_value undefined_flag defiant_mode defense_level"),
        "yield": _words("yielded_count unyielding"),
        "try": _words("retry_count country_code entry_point"),
        "raise": _words("raised_flag fundraise_total praise_count"),
        "del": _words("delivery_date delta_value model_name delegate_to"),
        "global": _words("global_str_ref globalization"),
        "nonlocal": _words("nonlocal_ref_str"),
        "lambda": _words("lambda_str_ref"),
        "async": _words("async_str_label"),
        "list": _words("checklist_items listing_data blacklist_mode"),
        "set": _words("settings_config reset_flag offset_value sunset_time"),
        "map": _words("mapped_result roadmap_items bitmap_size"),
        "dict": _words("dictionary_words verdict_text dictation_mode"),
        "open": _words("opening_hours reopening openly_shared"),
        "type": _words("typewriter_mode archetype prototype_id"),
        "print": _words("printable_chars fingerprint_id blueprint_ref"),
        "int": _words("interval_ms painting_id intelligence pointer_val"),
        "float": _words("floating_label afloat_status"),
        "str": _words("string_data stream_id structure_type destroy_flag"),
        "range": _words("arrangement strange_value orange_count"),
        "sum": _words("summary_text consumer_id assumption"),
        "max": _words("maximum_str climax_point"),
        "min": _words("minimum_str admin_level minute_count dominion"),
        "len": _words("length_str lender_id silent_mode calendar_ref"),
        "hash": _words("hashtag_count rehash_data"),
        "bool": _words("boolean_str booleanize"),
        "round": _words("roundup_notes background_val surround_count"),
        "zip": _words("zipcode_val unzip_path"),
        "all": _words("alliance_name install_path wallpaper"),
        "any": _words("company_name many_items tyranny"),
        "next": _words("next_str_ref annex_id"),
        "input": _words("input_str_ref"),
        "filter": _words("filter_str_ref unfiltered_data"),
        "object": _words("objection_text objective_id"),
        "id": _words("idea_count identity_str video_ref oxide_level"),
        "super": _words("supervisor_name superfluous"),
        "iter": _words("literal_count iterator_str_ref"),
        "bytes": _words("bytes_str_ref gigabytes_val"),
        "sorted": _words("sorted_str_ref unsorted_data"),
        "tuple": _words("tuple_str_ref quintuple_val"),
        "property": _words("property_str_ref"),
        "complex": _words("complexity_score complex_str_ref"),
        "reversed": _words("reversed_str_ref"),
    }
)
"""Keyword -> identifiers that contain it. ``from`` has none: its candidates skip the category."""
