-- How the images of an upload in pieces become numbers, to check whether they fit its model.
ALTER TABLE uploads ADD COLUMN preprocess TEXT;
