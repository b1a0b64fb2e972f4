"""What a running application shows over HTTP: facts as JSON and metrics, tables, and a page.

Nothing here is loaded before it is served.
"""
