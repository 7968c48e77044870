{{ fact('custom') }}
