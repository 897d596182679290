# SPDX-License-Identifier: GPL-2.0
"""api.py FILE: what the crate lets programs use, from rustdoc's JSON of it.

A line for each public item with its type, and for each type the traits that it implements:
what semantic versioning is about. The JSON is that of the compiler in the toolchain tree.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

#: The compiler's own, which no program can name.
INTERNAL = {"Freeze", "StructuralPartialEq"}


class Listing:
    """The lines, from what rustdoc says of a crate."""

    def __init__(self, crate: dict):
        self.index = crate["index"]
        self.lines: set[str] = set()
        self.traits: dict[str, set[str]] = {}
        self.module(self.item(crate["root"]), "shmbuf")
        for kind, traits in self.traits.items():
            self.lines.add(f"impl {kind}: {', '.join(sorted(traits))}")

    def item(self, number: int) -> dict:
        return self.index[str(number)]

    def module(self, module: dict, path: str):
        for number in module["inner"]["module"]["items"]:
            self.public(self.item(number), path)

    def public(self, item: dict, path: str):
        """An item that a module has."""
        ((sort, inner),) = item["inner"].items()
        if item["visibility"] != "public":
            return
        if sort == "use":
            if inner["id"] is not None and str(inner["id"]) in self.index:
                self.named(self.item(inner["id"]), f"{path}::{inner['name']}")
            else:
                self.lines.add(f"use {path}::{inner['name']} = {inner['source']}")
        elif sort == "module":
            # The raw ABI is generated from the driver's header, which is a promise of its own.
            if item["name"] != "abi":
                self.module(item, f"{path}::{item['name']}")
        else:
            self.named(item, f"{path}::{item['name']}")

    def named(self, item: dict, path: str):
        ((sort, inner),) = item["inner"].items()
        hints = "".join(f"{attr} " for attr in item["attrs"] if "non_exhaustive" in attr)
        generics = self.generics(inner) if isinstance(inner, dict) else ""
        match sort:
            case "struct":
                self.lines.add(f"{hints}struct {path}{generics}{self.fields(inner['kind'])}")
                for number in self.numbers(inner["kind"]):
                    field = self.item(number)
                    if field["visibility"] == "public":
                        kind = self.type(field["inner"]["struct_field"])
                        self.lines.add(f"field {path}.{field['name']}: {kind}")
            case "enum":
                self.lines.add(f"{hints}enum {path}{generics}")
                for number in inner["variants"]:
                    self.variant(self.item(number), path)
            case "function":
                self.lines.add(self.function(item, path))
            case "type_alias":
                self.lines.add(f"type {path}{generics} = {self.type(inner['type'])}")
            case "constant":
                self.lines.add(f"const {path}: {self.type(inner['type'])}")
            case "trait":
                self.lines.add(f"trait {path}{generics}")
            case _:
                self.lines.add(f"{sort} {path}")
        for number in inner.get("impls", []) if isinstance(inner, dict) else []:
            self.implementation(self.item(number)["inner"]["impl"], path)

    @staticmethod
    def numbers(kind: dict | str) -> list[int]:
        if isinstance(kind, str):
            return []
        if "plain" in kind:
            return kind["plain"]["fields"]
        return [number for number in kind.get("tuple", []) if number is not None]

    @staticmethod
    def fields(kind: dict | str) -> str:
        """Whether a program can make one by its fields."""
        if isinstance(kind, str):
            return ""
        if "plain" in kind:
            return " { .. }" if kind["plain"]["has_stripped_fields"] else " { all fields }"
        return f"({len(kind['tuple'])})"

    def variant(self, item: dict, path: str):
        kind = item["inner"]["variant"]["kind"]
        shape = ""
        if isinstance(kind, dict):
            ((sort, inner),) = kind.items()
            numbers = inner if sort == "tuple" else inner["fields"]
            fields = [self.item(number) for number in numbers if number is not None]
            shape = ", ".join(
                f"{field['name']}: {self.type(field['inner']['struct_field'])}" for field in fields
            )
            shape = f"({shape})"
        self.lines.add(f"variant {path}::{item['name']}{shape}")

    def implementation(self, it: dict, path: str):
        if it["blanket_impl"]:
            return
        trait = it["trait"]
        if trait is None:
            for number in it["items"]:
                item = self.item(number)
                if item["visibility"] == "public":
                    self.associated(item, path)
        elif trait["name"] not in INTERNAL:
            negative = "!" if it["is_negative"] else ""
            name = trait["name"] + self.arguments(trait["args"])
            self.traits.setdefault(self.type(it["for"]), set()).add(negative + name)

    def associated(self, item: dict, path: str):
        ((sort, inner),) = item["inner"].items()
        if sort == "function":
            self.lines.add(self.function(item, f"{path}::{item['name']}"))
        else:
            self.lines.add(f"{sort} {path}::{item['name']}: {self.type(inner['type'])}")

    def function(self, item: dict, path: str) -> str:
        it = item["inner"]["function"]
        header = "".join(
            f"{word} " for word in ("const", "async", "unsafe") if it["header"][f"is_{word}"]
        )
        inputs = ", ".join(
            self.type(kind) if name != "self" else f"self: {self.type(kind)}"
            for name, kind in it["sig"]["inputs"]
        )
        output = it["sig"]["output"]
        returned = f" -> {self.type(output)}" if output else ""
        return f"{header}fn {path}{self.generics(it)}({inputs}){returned}"

    def generics(self, it: dict) -> str:
        """Parameters, with what is asked of them."""
        words = []
        for parameter in it.get("generics", {}).get("params", []):
            ((sort, inner),) = parameter["kind"].items()
            if sort == "lifetime" or inner.get("is_synthetic"):
                continue
            words.append(parameter["name"] + self.bounds(inner.get("bounds", []), ": "))
        for where in it.get("generics", {}).get("where_predicates", []):
            words.append(json.dumps(where, sort_keys=True))
        return f"<{', '.join(words)}>" if words else ""

    def bounds(self, bounds: list, before: str = "") -> str:
        names = [
            bound["trait_bound"]["trait"]["name"]
            + self.arguments(bound["trait_bound"]["trait"]["args"])
            for bound in bounds
            if "trait_bound" in bound
        ]
        return before + " + ".join(names) if names else ""

    def arguments(self, args: dict | None) -> str:
        if not args:
            return ""
        if "parenthesized" in args:
            it = args["parenthesized"]
            output = f" -> {self.type(it['output'])}" if it["output"] else ""
            return f"({', '.join(map(self.type, it['inputs']))}){output}"
        it = args["angle_bracketed"]
        words = [self.type(arg["type"]) for arg in it["args"] if "type" in arg]
        for constraint in it["constraints"]:
            words.append(
                f"{constraint['name']} = {self.type(constraint['binding']['equality']['type'])}"
            )
        return f"<{', '.join(words)}>" if words else ""

    def type(self, it: dict) -> str:
        ((sort, inner),) = it.items()
        match sort:
            case "resolved_path":
                return inner["name"].split("::")[-1] + self.arguments(inner["args"])
            case "generic" | "primitive":
                return inner
            case "tuple":
                return f"({', '.join(map(self.type, inner))})"
            case "slice":
                return f"[{self.type(inner)}]"
            case "array":
                return f"[{self.type(inner['type'])}; {inner['len']}]"
            case "impl_trait":
                return "impl " + self.bounds(inner)
            case "raw_pointer":
                return f"*{'mut' if inner['is_mutable'] else 'const'} {self.type(inner['type'])}"
            case "borrowed_ref":
                return f"&{'mut ' if inner['is_mutable'] else ''}{self.type(inner['type'])}"
            case "qualified_path":
                return f"<{self.type(inner['self_type'])}>::{inner['name']}"
            case _:
                return json.dumps(it, sort_keys=True)


def listing(file: Path) -> Iterator[str]:
    """The lines, in order."""
    yield from sorted(Listing(json.loads(file.read_text())).lines)


if __name__ == "__main__":
    print("\n".join(listing(Path(sys.argv[1]))))
