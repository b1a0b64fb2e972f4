"""What a running application shows over HTTP. Nothing here is loaded before it is served."""
