"""What `import maim_trio` gives: the components of maim_message from before its API-Server."""
