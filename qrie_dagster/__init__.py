"""qrie: an inventory of AWS accounts and the policy findings on them, kept true by an anti-entropy loop."""
