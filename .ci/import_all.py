"""Import every module of the installed package: none may need what is not declared.

Sketches are: one of the examples uses them.
"""

import importlib
import pkgutil

import penstock

PROGRAMS = (".__main__", ".demo_app")  # they do their work when they are imported
found = [module.name for module in pkgutil.walk_packages(penstock.__path__, "penstock.")]
modules = [module for module in found if not module.endswith(PROGRAMS)]
for module in modules:
    importlib.import_module(module)
for name in dir(penstock):
    getattr(penstock, name)
print(f"{len(modules)} modules of penstock {penstock.__version__} import.")
