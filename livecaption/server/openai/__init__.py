"""OpenAI's protocol for whole recordings: docs/clients/openai.md.

fields    what a request asks for, from the fields of its form
answers   what is answered, in OpenAI's shapes
handlers  the two joined, over HTTP
"""
