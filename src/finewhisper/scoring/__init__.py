"""How well speech was heard: rules by which texts are compared, error rates with their intervals and signatures, tables of them.

``text`` and ``numerals`` make texts comparable, ``rates`` counts and resamples, ``scores`` has the one value for a scored set and the one
function that signs it, ``sets`` says by whose rules a set is scored, ``matrix`` and ``plot`` show several models on several sets, and
``config`` is what every verb that scores is asked. Nothing here runs a model.
"""
