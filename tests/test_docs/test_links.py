"""Links, anchors and paths of README.md, CONTRIBUTING.md and docs lead somewhere, in the repository and on the site."""

import re
from functools import cache
from pathlib import Path

import pytest
from blocks import PAGES, REPO

# inline links and pictures, and targets of reference links
LINK = re.compile(r'\]\(([^)\s]+)\)|^\[[^\]^]+\]: (\S+)$', re.M)
DOCS = REPO / 'docs'


def prose(page: Path) -> str:
    """A page without its blocks and code."""
    return re.sub(r'`[^`\n]*`', '', re.sub(r'^ *```.*?^ *```', '', page.read_text(), flags=re.S | re.M))


@cache
def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as code hosts and the site name them."""
    text = re.sub(r'^ *```.*?^ *```', '', page.read_text(), flags=re.S | re.M)
    found = set()
    for title in re.findall(r'^#+ (.*)$', text, re.M):
        title = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', title).replace('`', '')
        anchor = re.sub(r'[^\w\- ]', '', title.strip().lower()).replace(' ', '-')
        # a second heading of the same text gets a number
        found.add(anchor if anchor not in found else f'{anchor}-1')
    return found


def links(page: Path) -> list[str]:
    """Targets of a page's links that are not on the web."""
    targets = [inline or reference for inline, reference in LINK.findall(prose(page))]
    return [target for target in targets if not target.startswith(('https://', 'http://', 'mailto:'))]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(REPO)))
def test_links_lead_to_files_and_headings(page):
    for target in links(page):
        path, _, anchor = target.partition('#')
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target
        if page.is_relative_to(DOCS) and place.suffix == '.md':
            assert place.is_relative_to(DOCS), f'{target}: not on the site, which docs/ is the root of'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(REPO)))
def test_named_programs_and_configs_exist(page):
    text = page.read_text()
    for path in re.findall(r'(?<!\w)(?:(?:tools|benchmarks)/\w+\.(?:py|sh)|configs/[\w/+-]+\.py)', text):
        assert 'NAME' in path or (REPO / path).exists(), path
    for path in re.findall(r'\bdocs/[\w/]+\.md', text):
        assert (REPO / path).exists(), path


def test_every_page_is_on_the_site():
    listed = {'index'}
    for page in PAGES:
        for body in re.findall(r'```\{toctree\}\n(.*?)```', page.read_text(), re.S):
            names = [line for line in body.splitlines() if line and not line.startswith(':')]
            listed |= {str((page.parent / name).relative_to(DOCS)) for name in names}
    pages = {str(page.relative_to(DOCS).with_suffix('')) for page in PAGES if page.is_relative_to(DOCS)}
    assert listed == pages
