{{ fact('interaction_to_next_paint') }}
