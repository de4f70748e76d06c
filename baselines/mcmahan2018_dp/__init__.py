"""McMahan et al. 2018, Learning Differentially Private Recurrent Language Models

Accounting only: what DP-FedAvg's rounds cost, by the paper's moments accountant with integer orders
2 to 33 and its conversion to epsilon. An accountant of today finds less epsilon for the same noise
(`--dp_accountant`); the orders up to 33 alone more than double the row with z = 3. The paper's
models are trained on Reddit, which is not available.
"""
