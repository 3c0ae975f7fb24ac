"""The Textual interface: screens, widgets, messages, one .tcss each."""
