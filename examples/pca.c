#include "pca.h"
#include "common.h"

#include <math.h>
#include <stdlib.h>

/* Rows of unit length, about their mean. The caller frees them. */
static double *centred_rows(size_t count, size_t dim, const float *features)
{
    double *rows = allocate(count, dim * sizeof *rows), *mean = allocate(dim, sizeof *mean);
    for (size_t i = 0; i < count; i++) {
        double square = 0;
        for (size_t j = 0; j < dim; j++)
            square += (double)features[i * dim + j] * (double)features[i * dim + j];
        for (size_t j = 0; j < dim; j++) {
            rows[i * dim + j] = square > 0 ? (double)features[i * dim + j] / sqrt(square) : 0;
            mean[j] += rows[i * dim + j] / (double)count;
        }
    }
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < dim; j++)
            rows[i * dim + j] -= mean[j];
    free(mean);
    return rows;
}

static double *covariance_of(size_t count, size_t dim, const double *rows)
{
    double *covariance = allocate(dim * dim, sizeof *covariance);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < dim; j++)
            for (size_t k = 0; k < dim; k++)
                covariance[j * dim + k] += rows[i * dim + j] * rows[i * dim + k];
    return covariance;
}

static double length_of(size_t dim, const double *vector)
{
    double square = 0;
    for (size_t j = 0; j < dim; j++)
        square += vector[j] * vector[j];
    return sqrt(square);
}

/* Power iteration: the largest eigenvalue of a symmetric matrix, its eigenvector in `vector`, signed so that the
   largest entry is positive; then takes it out of the matrix, so that the next call finds the next. */
static double take_direction(size_t dim, double *matrix, double *vector)
{
    enum { ITERATIONS = 300 };
    double *product = allocate(dim, sizeof *product), value = 0;
    for (size_t j = 0; j < dim; j++)
        vector[j] = 1 + (double)(j * 7919 % 101) / 101; /* any start that is orthogonal to nothing in particular */
    for (int iteration = 0; iteration < ITERATIONS; iteration++) {
        for (size_t j = 0; j < dim; j++) {
            product[j] = 0;
            for (size_t k = 0; k < dim; k++)
                product[j] += matrix[j * dim + k] * vector[k];
        }
        value = length_of(dim, product);
        for (size_t j = 0; j < dim; j++)
            vector[j] = value > 0 ? product[j] / value : 0;
    }
    size_t largest = 0;
    for (size_t j = 0; j < dim; j++)
        if (fabs(vector[j]) > fabs(vector[largest]))
            largest = j;
    const double sign = vector[largest] < 0 ? -1 : 1;
    for (size_t j = 0; j < dim; j++)
        vector[j] *= sign;
    for (size_t j = 0; j < dim; j++)
        for (size_t k = 0; k < dim; k++)
            matrix[j * dim + k] -= value * vector[j] * vector[k];
    free(product);
    return value;
}

void pca_plane(size_t count, size_t dim, const float *features, float *points, double shares[2])
{
    double *rows = centred_rows(count, dim, features), *covariance = covariance_of(count, dim, rows);
    double *vector = allocate(dim, sizeof *vector), total = 0;
    for (size_t j = 0; j < dim; j++)
        total += covariance[j * dim + j];
    for (size_t axis = 0; axis < 2; axis++) {
        const double spread = take_direction(dim, covariance, vector);
        shares[axis] = total > 0 ? spread / total : 0;
        for (size_t i = 0; i < count; i++) {
            double along = 0;
            for (size_t j = 0; j < dim; j++)
                along += rows[i * dim + j] * vector[j];
            points[2 * i + axis] = (float)along;
        }
    }
    free(rows);
    free(covariance);
    free(vector);
}
