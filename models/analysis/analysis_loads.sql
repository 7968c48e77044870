{{ fact('load') }}
