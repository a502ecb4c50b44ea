# Tests that are known to fail on this kernel: "name: known failure: reason"; then "says", what the test must
# say when it fails (an extended regular expression), and "evidence", a patch with which it passes.
sev_dbg_test: known failure: __sev_dbg_encrypt_user() does not write the last 16 bytes of an unaligned destination
	says: Expected src\[[0-9]+\] .*== dst\[[0-9]+\]
	evidence: dbg-encrypt-whole-destination.patch
