"""The candles that the feed has delivered, and past ones joined to them."""
