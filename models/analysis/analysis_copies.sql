{{ fact('copy') }}
