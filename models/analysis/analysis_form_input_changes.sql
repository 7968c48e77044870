{{ fact('change') }}
