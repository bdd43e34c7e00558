"""What only the pages use: props, explorers, checks of exercises, and how the site is made."""
