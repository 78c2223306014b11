"""Settings of the documentation's site, which `make docs` builds."""

import os
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
# before OpenMP starts, which mmengine warns about
os.environ.setdefault('OMP_NUM_THREADS', '1')
sys.path[:0] = [str(REPO / 'projects'), str(REPO / 'docs' / 'extensions')]

import peridot  # noqa: E402

project = 'Peridot'
author = 'the authors of Peridot'
version = release = peridot.__version__

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
    'sphinx_copybutton',
    'config_types',
]
exclude_patterns = ['_build']
html_theme = 'furo'
html_title = 'Peridot'
html_show_copyright = False
html_static_path = ['style']
html_css_files = ['peridot.css']
html_theme_options = {'navigation_with_keys': True}
# formulas of docstrings
highlight_language = 'text'

# the host's names for headings, so that links work in the repository, too
myst_heading_anchors = 4
# docstrings and pages quote with straight quotes and write options with two dashes
smartquotes = False
default_role = 'literal'

autodoc_default_options = {'members': True, 'show-inheritance': True}
autodoc_member_order = 'bysource'
autodoc_typehints_format = 'short'
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
# documentation of other packages is not read for a build, and types of several parts are no single name
OTHERS = 'torch|np|numpy|nn|mmengine|mmcv|mmdet|mmdet3d|mmseg|collections|pathlib|argparse|os|timm|abc'
nitpick_ignore_regex = [
    ('py:.*', rf'({OTHERS})\..*'),
    ('py:class', r'tuple\[.*'),
    ('py:class', r'(.*\.)?_\w+'),
    # fields of named tuples come without their module
    ('py:class', 'BaseSegmentor|SamAutomaticMaskGenerator|Tensor'),
]
