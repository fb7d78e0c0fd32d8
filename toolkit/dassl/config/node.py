"""A yacs node whose errors name the closest key."""

from __future__ import annotations

import difflib
from typing import Any

from yacs.config import CfgNode


class ConfigNode(CfgNode):
    """yacs' CfgNode; an unknown key is a ValueError with the closest one, and an int may set a float."""

    def merge_from_other_cfg(self, cfg_other: CfgNode) -> None:
        """Merge a tree (yacs' merge_from_file ends here, too).

        Raises:
            ValueError: unknown key, or a value of another type than the default's.
        """
        cfg_other = cfg_other.clone()
        _prepare_tree(cfg_other, self, self, [])
        super().merge_from_other_cfg(cfg_other)

    @classmethod
    def _decode_cfg_value(cls, value: Any) -> Any:
        """A value as yacs reads it; a node stays of its own type, which `_prepare_tree` has chosen."""
        return value if isinstance(value, CfgNode) else super()._decode_cfg_value(value)

    def merge_from_list(self, cfg_list: list[Any]) -> None:
        """Merge [key, value, key, value, ...] as a command line gives them.

        Raises:
            ValueError: a key without a value, unknown key, or a value of another type than the default's.
        """
        if len(cfg_list) % 2:
            raise ValueError(f"options come in pairs KEY VALUE, but the last one, '{cfg_list[-1]}', stands alone")
        pairs: list[Any] = []
        for key, value in zip(cfg_list[0::2], cfg_list[1::2], strict=True):
            node: Any = self
            for part in key.split("."):
                if not isinstance(node, CfgNode) or part not in node:
                    if self.key_is_deprecated(key) or self.key_is_renamed(key):
                        break
                    raise ValueError(_unknown(key, self))
                node = node[part]
            else:
                value = _as_float(self._decode_cfg_value(value), node)
            pairs += [key, value]
        super().merge_from_list(pairs)


def _prepare_tree(new: CfgNode, old: CfgNode, root: CfgNode, path: list[str]) -> None:
    for key, value in new.items():
        full_key = ".".join([*path, key])
        if key not in old:
            if root.key_is_deprecated(full_key) or root.key_is_renamed(full_key):
                continue
            if not old.is_new_allowed():
                raise ValueError(_unknown(full_key, root))
        elif isinstance(value, CfgNode) and isinstance(old[key], CfgNode):
            value = type(old[key])(
                value
            )  # yacs merges nodes of one type, and trainers add plain ones: cfg.TRAINER.X = CN()
            _prepare_tree(value, old[key], root, [*path, key])
            dict.__setitem__(new, key, value)
        else:
            dict.__setitem__(new, key, _as_float(value, old[key]))


def _as_float(value: Any, old: Any) -> Any:
    is_int = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if is_int and isinstance(old, float) else value


def _leaves(node: CfgNode, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key, value in node.items():
        keys += _leaves(value, f"{prefix}{key}.") if isinstance(value, CfgNode) else [f"{prefix}{key}"]
    return keys


def _unknown(key: str, root: CfgNode) -> str:
    known = _leaves(root)
    close = difflib.get_close_matches(key, known, n=1)
    # a right name under a wrong node is a common slip
    close = close or [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]][:1]
    hint = f"did you mean {close[0]}?" if close else "dassl/config/defaults.py lists the keys"
    return f"unknown configuration key {key}; {hint}"
