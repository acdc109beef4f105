"""Writes the generated parts of docs/reference: `make reference`, which is `python -m tests.support.reference`.

A page is written by hand, but for what stands between two remarks. That is made from the code, and a test compares it:

    <!-- generated: errors -->
    | code | what to do |
    ...
    <!-- end -->

`sections` names the parts and what makes each.
"""
