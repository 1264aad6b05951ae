"""`geminifusion data init`: a contract and tables proposed from what lies in a folder."""
