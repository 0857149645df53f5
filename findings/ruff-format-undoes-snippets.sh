#!/usr/bin/env bash
# ruff 0.17.6 formats fenced Python inside Markdown without being asked to, and to it the snippet marker of pymdown-extensions
# is Python: `--8<-- "a.py"` is minus minus 8, less than minus minus a string, and gets blanks round its operators. The
# marker is none any more, so mkdocs 1.6.1 shows it to readers instead of the file, and `mkdocs build --strict` with
# `check_paths: true` passes, since nothing is missing.
#
# Seen: `--8 < --"a.py"` in the source and on the page; before ruff the page held the file's text. Both builds exit with 0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON311:-python3.11}" -m venv env
env/bin/pip install --quiet ruff==0.17.6 mkdocs==1.6.1 pymdown-extensions==13.1.2

mkdir docs
echo 'answer = 42' >docs/a.py
printf '# Page\n\n```python\n--8<-- "a.py"\n```\n' >docs/index.md
cat >mkdocs.yml <<'YAML'
site_name: site
theme: {name: mkdocs, highlightjs: false}
exclude_docs: "*.py"
markdown_extensions:
  - pymdownx.superfences
  - pymdownx.snippets: {base_path: [docs], check_paths: true}
YAML

# The text of the page, without the marks of syntax colouring.
page() { env/bin/mkdocs build --quiet --strict --site-dir "$1" && sed 's/<[^>]*>//g' "$1/index.html" | grep -E '42|8' || true; }

echo "before: $(page before | grep -o 'answer = 42')"
env/bin/ruff format --isolated docs
grep -n '8' docs/index.md
shown=$(page after)
echo "after: $shown"
grep -q '^--8 < --"a.py"$' docs/index.md
! grep -q 'answer = 42' <<<"$shown"
grep -q 'a.py' <<<"$shown"
echo "still so"
