"""Is an export the same function as its checkpoint, here and on a user's machine?"""
