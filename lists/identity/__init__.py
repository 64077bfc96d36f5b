"""One person, one contact: merging two, finding duplicates, a new address, and erasure.

For others: `merging`, `duplicates`, `address_change`, `erasure`, `departure_replay`. Each
changes a whole contact in the tables of `lists`; `mailer/people` does the same in those of `mailer`.
"""
