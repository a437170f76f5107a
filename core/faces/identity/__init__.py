"""One person from many photographs: combining, judging, saving, changing and telling apart."""
