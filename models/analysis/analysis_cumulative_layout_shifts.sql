{{ fact('cumulative_layout_shift') }}
