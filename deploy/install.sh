#!/usr/bin/env bash
# Puts the program and what belongs to it below $DESTDIR$PREFIX, where Debian's packages have them. Called by `make install`.
# BINARY is the program, which also writes its man pages and completions.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PREFIX=${PREFIX:-/usr/local}
BINARY=${BINARY:-target/release/userpipe}
root=${DESTDIR:-}$PREFIX
# what is not the distribution's has another place in zsh
if [[ $PREFIX == /usr ]]; then zsh=vendor-completions; else zsh=site-functions; fi

install -D -m 0755 "$BINARY" "$root/bin/userpipe"

pages=$(mktemp -d)
trap 'rm -rf "$pages"' EXIT
"$BINARY" man --dir "$pages"
gzip -9n "$pages"/*.1
install -D -m 0644 -t "$root/share/man/man1" "$pages"/*.1.gz

# completions SHELL FILE
completions() {
  "$BINARY" completions "$1" >"$pages/completions"
  install -D -m 0644 "$pages/completions" "$root/share/$2"
}
completions bash bash-completion/completions/userpipe
completions zsh "zsh/$zsh/_userpipe"
completions fish fish/vendor_completions.d/userpipe.fish

for unit in deploy/systemd/*.service; do
  sed "s#=/usr/bin/userpipe#=$PREFIX/bin/userpipe#" "$unit" >"$pages/unit"
  install -D -m 0644 "$pages/unit" "$root/lib/systemd/system/$(basename "$unit")"
done

examples=$root/share/doc/userpipe/examples
install -D -m 0644 -t "$root/share/doc/userpipe" README.md CHANGELOG.md LICENSE
install -D -m 0644 deploy/README.md "$root/share/doc/userpipe/deploy.md"
install -D -m 0644 -t "$examples" userpipe.example.toml schema.cql deploy/systemd/userpipe.env deploy/systemd/passwords.conf
install -D -m 0644 -t "$examples/airflow" deploy/airflow/*.py
install -D -m 0644 -t "$examples/kubernetes" deploy/kubernetes/*.yaml
echo "installed below $root"
