"""The flow of a call: plan, admit, send, settle, try again or fall back; knows the ports to the outside, and no implementation of any."""
