{{ fact('low_memory') }}
