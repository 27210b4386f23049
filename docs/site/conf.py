"""Sphinx's settings of the documentation's site, which `make docs` builds into build/site."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
# Extensions of this folder.
sys.path.insert(0, str(HERE))

project = "archprior"
version = release = version_of("archprior")
html_title = f"archprior {version}"

root_doc = "index"
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "myst_nb",
    "command_line",
    "live_examples",
    "values",
]
# Absolute, because autosummary looks for them beside the pages.
templates_path = [str(HERE / "templates")]
# The notebook is the page with its figures; parts that pages include are no pages.
exclude_patterns = ["analysis.md", "site", "generated/parts", "generated/files"]
nitpicky = True
# Names in backticks may be of parameters, and types of other libraries; full names of ours must be
# in the reference, but for types of private modules.
nitpick_ignore_regex = [
    ("py:obj", r"(?!(analysis|study|trainers)\.).*"),
    ("py:class", r"(?!(analysis|study|trainers)\.).*|.*\._.*"),
]
# Type variables, and types that only the package itself handles.
nitpick_ignore = [
    ("py:class", name)
    for name in (
        "analysis.encoded_tables.EncodedTables",
        "study.plan.replicates.PlanRow",
        "study.plan.weights.Sources",
        "study.run.interrupts.T",
        "study.spec.read.Spec",
        "trainers.architectures.base.Result",
        "trainers.comparison.rows_file.RowsFile",
        "trainers.comparison.sides.SideFeatures",
        "trainers.guides.disk_cache.CacheInputs",
        "trainers.guides.features.Cached",
        "trainers.guides.frozen.FrozenGuide",
        "trainers.guides.frozen.StreamedFeatures",
        "trainers.messages.Traced",
        "trainers.options.Bounds",
    )
]

# Anchors are those that GitHub gives to headings, so links hold in both places.
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline"]
nb_execution_mode = "off"

# A name in backticks is a link where it is documented, and code where it is not.
default_role = "py:obj"
autosummary_imported_members = True
autosummary_ignore_module_all = False
# Packages that `__all__` of another has, which templates do not tell from data.
autosummary_context = {"packages": ["trainers.distances", "trainers.measures"]}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 120
napoleon_numpy_docstring = False

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["../generated/files"]
html_favicon = "static/icon.svg"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
