-- How the layer was quantized and searched: {"param_bw","symmetric","granularity","block_size","candidates","fell_back"}. Null for layers of before.
ALTER TABLE job_layers ADD COLUMN settings TEXT;
