"""What only the pages use: props, explorers, checks of exercises, and the site's making."""
