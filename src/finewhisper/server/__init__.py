"""``finewhisper serve``: one loaded model for many clients, over HTTP and WebSockets."""
