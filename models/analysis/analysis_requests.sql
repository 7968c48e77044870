{{ fact('request') }}
