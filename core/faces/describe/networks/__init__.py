"""The networks behind the descriptors, and how their files become them."""
