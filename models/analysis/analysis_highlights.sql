{{ fact('highlight') }}
