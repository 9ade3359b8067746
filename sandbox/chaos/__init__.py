"""The campaign: many changes, interrupted at every step on the real engine, judged by what senders would have met."""
